"""What a path holds, in plain words: a bundle, run directory, output directory or Parquet data."""
