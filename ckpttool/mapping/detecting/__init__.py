"""Which mapping files fit a checkpoint, told from its names and shapes alone."""
