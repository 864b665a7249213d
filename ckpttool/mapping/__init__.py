"""Mapping files, the plans compiled from them, and their execution."""
