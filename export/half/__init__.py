"""FP16 graphs: which nodes may compute in half precision, and the graph where they do.

TensorRT 11 has no FP16 flag: networks are strongly typed, so precision is a property
of the ONNX graph and decided here, for every back end alike.
"""
