"""The export stage: checkpoints to networks to ONNX to a bundle. Needs torch."""
