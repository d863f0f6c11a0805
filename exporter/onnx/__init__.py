"""ONNX graphs: the conversion, what is made simpler or smaller afterwards, and what the result must look like."""
