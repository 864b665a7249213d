"""Bytes in and out: ranged reads, atomic output, checksums and bounds-checked cursors."""
