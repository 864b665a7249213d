"""TensorFlow's own formats: V1 and V2 checkpoints, object graphs, MetaGraphs, SavedModels."""
