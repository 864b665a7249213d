"""MetaGraphs as data: collections, variables, savers, initializers.  No op is ever built."""
