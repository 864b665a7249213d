"""One module per on-disk structure, behind one Reader and one Writer protocol."""
