"""Sequences: how they are read from Parquet, batched and described.

This package needs only numpy and pyarrow, so that trainer, exporter and runner read the same rows in the same way.
Imports go one way: data ← runner ← exporter, and data ← trainer.
"""
