"""The network that every peer serves: any ONNX file from `image` to `logits`.

On one thread; shape and type of an image are those of the file, so that the servers
know nothing of the network. Started with this folder on PYTHONPATH.
"""

from __future__ import annotations

import numpy as np
import onnxruntime

_TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}


class OnnxNetwork:
    """Answers of shape (N, 1) in float32 to images of shape (N, *shape)."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options)
        (image,) = self._session.get_inputs()
        self.shape = tuple(image.shape[1:])
        if not all(isinstance(size, int) for size in self.shape):
            raise ValueError(f"{path} takes images of any size; give one that does not")
        self.dtype = _TYPES[image.type]

    def image(self, data: bytes) -> np.ndarray:
        """Return one image as it came over the wire."""
        return np.frombuffer(data, self.dtype).reshape(self.shape)

    def run(self, images: np.ndarray) -> np.ndarray:
        return self._session.run(["logits"], {"image": images})[0]
