"""From what a person typed to the files of one checkpoint, and what those files are."""
