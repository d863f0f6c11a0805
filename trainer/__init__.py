"""Training of sequence encoders with Keras: from Parquet to a run directory."""
