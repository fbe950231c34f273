"""One network alone: tensors of a request to samples, and what it says to tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spinert.proto import bundle_pb2
from spinert.runtime.engine.tensors import TensorAnswer
from spinert.runtime.frame import TensorFrame, bytes_of
from spinert.runtime.kserve.inputs import InputTensor
from spinert.runtime.kserve.models import Model, TensorSpec
from spinert.runtime.kserve.outputs import Elements
from spinert.runtime.kserve.refusals import tensor_invalid
from spinert.runtime.preprocess.canvas import placement

__all__ = [
    "NetworkLimits",
    "outputs_from_answers",
    "refuse_not_finite",
    "samples_from_pixels",
    "valid_areas",
]

Array = npt.NDArray[Any]


class NetworkLimits:
    """Which samples a network could be given by a frame; others are refused.

    An engine is built for those sizes alone, and what is learned of each size (its
    cost, a CUDA graph) must stay bounded.
    """

    def __init__(self, network: bundle_pb2.NetworkInput, max_edge_px: int) -> None:
        """Describe `network`; frames have edges of up to `max_edge_px`."""
        self._multiple, self._edge_px = _steps(network.canvas, max_edge_px)

    def check(self, model: Model, inputs: Mapping[str, InputTensor]) -> None:
        """Do nothing if all samples could come from a frame; touches no element.

        Raises:
            ProtocolViolation: TENSOR_INVALID: too many, or too large.
        """
        counts = {tensor.shape[0] for tensor in inputs.values()}
        if len(counts) > 1:
            raise tensor_invalid("all inputs must hold the same number of samples")
        if counts.pop() > model.max_batch:
            raise tensor_invalid(f"a request holds at most {model.max_batch} samples")
        height, width = inputs["image"].shape[2:]
        step, largest = self._multiple, self._edge_px
        if max(height, width) > largest or height % step or width % step:
            raise tensor_invalid(
                f"height and width of input image must be multiples of {step}, up to "
                f"{largest}"
            )


def valid_areas(inputs: Mapping[str, InputTensor]) -> Sequence[tuple[int, int]]:
    """Return (height, width) of what is not fill, of each sample; reads no pixel.

    Args:
        inputs: Within the limits: `image` and, where the network takes it,
            `image_size`.

    Raises:
        ProtocolViolation: TENSOR_INVALID: an area that is none.
        SpinertError: image_size was lent, and is gone.
    """
    samples, _, height, width = inputs["image"].shape
    sizes = inputs.get("image_size")
    if sizes is None:
        return [(height, width)] * samples
    areas = sizes.array(bytes_of(sizes.payload))
    if not ((areas >= 1) & (areas <= (height, width))).all():
        raise tensor_invalid(
            "image_size is the valid (height, width) of each image: from 1, and no "
            "larger than the image"
        )
    return [(int(high), int(wide)) for high, wide in areas]


def refuse_not_finite(pixels: Array) -> None:
    """Refuse numbers that no preparation makes; a network would only spread them.

    Raises:
        ProtocolViolation: TENSOR_INVALID.
    """
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise tensor_invalid("the numbers of input image must be finite")


def samples_from_pixels(
    model: Model, pixels: Array, areas: Sequence[tuple[int, int]]
) -> Sequence[TensorFrame]:
    """Split `pixels` (N,C,H,W) into samples; they stay views."""
    return [
        TensorFrame(
            network=model.role,
            pixels=sample,
            valid_height=height,
            valid_width=width,
        )
        for sample, (height, width) in zip(pixels, areas, strict=True)
    ]


def outputs_from_answers(
    specs: Sequence[TensorSpec], answers: Sequence[TensorAnswer]
) -> Mapping[str, Elements]:
    """Stack the answers of all samples, by output."""
    return {
        spec.name: np.stack([answer.outputs[spec.name] for answer in answers])
        for spec in specs
    }


def _steps(canvas: bundle_pb2.CanvasPolicy, max_edge_px: int) -> tuple[int, int]:
    """Return of what edges are multiples, and how long they can be."""
    match canvas.WhichOneof("kind"):
        case "shortest_edge":
            edge = canvas.shortest_edge
            largest = max(edge.short_edge, edge.max_long_edge)
            step = max(1, edge.pad_multiple)
        case "native":
            largest, step = max_edge_px, max(1, canvas.native.pad_multiple)
        case _:
            # One size, which the shape of the input already states.
            place = placement(1, 1, canvas)
            return 1, max(place.height, place.width)
    return step, -(-largest // step) * step
