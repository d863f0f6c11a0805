"""Embed Parquet sequences with one ONNX file, on hosts without a training library.

Imports go one way: data ← runner ← exporter. Only bundle/encoder.py imports onnxruntime.
"""
