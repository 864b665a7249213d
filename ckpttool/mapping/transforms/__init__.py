"""The transforms that a mapping may apply: a closed set, typed, checked before data is read."""
