"""The networks that peers are compared with: any ONNX file from an image to a logit."""

from __future__ import annotations

import base64
import json
import re
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from harness import HERE
from onnx import TensorProto, helper
from tiny_bundle import write_tiny_bundle

sys.path.append(str(HERE / "peers" / "shared"))
from onnx_network import OnnxNetwork

EDGE = 224
_NEAR = 1e-3
"""Of answers by other versions of ONNX Runtime, and in other batches."""
_DATATYPES = {np.dtype(np.float32): "FP32", np.dtype(np.uint8): "UINT8"}
_DECIMAL = re.compile(rb"-?\d+\.\d+(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, kw_only=True)
class Question:
    """One image, and what a network answers."""

    network: Path
    """From `image` to `logits` of shape (N, 1)."""
    image: np.ndarray
    """(1, C, H, W), in the type that the network takes."""
    logit: float

    @property
    def pixels(self) -> bytes:
        return self.image.tobytes()

    @property
    def datatype(self) -> str:
        """Its type by the name of the Open Inference Protocol."""
        return _DATATYPES[self.image.dtype]

    def as_json(self) -> bytes:
        """Return the image as base64 in JSON."""
        return json.dumps({"data": base64.b64encode(self.pixels).decode()}).encode()

    def is_answered_by(self, answer: bytes) -> bool:
        """Tell whether the logit is in an answer: as float32 anywhere, or in decimals.

        So it need not be known how each protocol wraps it.
        """
        told = [float(number) for number in _DECIMAL.findall(answer)]
        ends = range(len(answer) - 3)
        told += [struct.unpack_from("<f", answer, start)[0] for start in ends]
        return any(abs(value - self.logit) <= _NEAR for value in told)


def question_from_network(network: Path) -> Question:
    """Return noise as the image, and what ONNX Runtime answers in this process."""
    # Servers run in folders of their own.
    network = network.resolve()
    served = OnnxNetwork(str(network))
    noise = np.random.default_rng(0).integers(0, 256, (1, *served.shape), np.uint8)
    image = noise if served.dtype is np.uint8 else (noise / 255).astype(served.dtype)
    ((logit,),) = served.run(image)
    return Question(network=network, image=image, logit=float(logit))


def mean_network() -> bytes:
    """Return a network that costs nothing: the mean of each image, in float32."""
    image = helper.make_tensor_value_info(
        "image", TensorProto.FLOAT, ["N", 3, EDGE, EDGE]
    )
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1])
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["logits"]),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
        helper.make_tensor("last", TensorProto.INT64, [1], [1]),
    ]
    graph = helper.make_graph(nodes, "mean", [image], [logits], constants)
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_mean_bundle(directory: Path) -> Path:
    """Write a bundle whose classifier is the mean, in float32 as peers take it."""
    return write_tiny_bundle(
        directory, edge=EDGE, channels=1, classifier=mean_network()
    )
