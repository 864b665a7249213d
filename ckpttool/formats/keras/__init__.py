"""Keras' formats: ``.weights.h5`` and its shards, legacy ``.h5``, ``.keras`` archives."""
