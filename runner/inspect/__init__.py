"""Describe a bundle, run directory, output directory or Parquet data."""
