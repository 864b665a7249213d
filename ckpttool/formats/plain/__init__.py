"""Formats of named arrays and nothing more: ``.npz`` and safetensors."""
