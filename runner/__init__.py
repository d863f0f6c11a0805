"""Turn Parquet sequences into Parquet embeddings with one ONNX file, on hosts without a training library.

Imports go one way: data ← runner ← exporter. One file here names onnxruntime: bundle/encoder.py.
"""
