"""Templates: what a target has to hold, read from a file or a live model."""
