"""Draft mapping files: which tensors of a checkpoint are which variables of a target."""
