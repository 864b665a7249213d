"""Mapping files: parsing, patterns, templates, parameters, compiled rules."""
