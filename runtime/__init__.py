"""The runtime: frames in, verdicts out. Never imports torch, onnx or export."""
