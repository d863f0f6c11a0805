"""Convert a Keras model to an ONNX graph, simplify or quantise the graph, and check its structure."""
