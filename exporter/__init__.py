"""Export a trained encoder to ONNX."""
