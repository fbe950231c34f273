"""From an ONNX file that others exported to a graph that keeps the contract."""
