"""Carrying out a plan: streaming, reading back, committing."""
