"""From the bundle's input to what an ONNX file takes, in ONNX operators.

The twin of `spinert.export.networks.grey_input`.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from spinert.export.errors import RecipeError
from spinert.export.onnx_import.nodes import Nodes
from spinert.export.onnx_import.ports import ImagePort, SizePort
from spinert.proto import bundle_pb2 as pb

__all__ = ["image_value", "size_value"]


def _per_channel(nodes: Nodes, stated: pb.NetworkInput, name: str, count: int) -> str:
    values = list(getattr(stated, name))
    if count == 1 and len(set(values)) > 1:
        message = f"input.{name}: the ONNX file takes one channel; give equal values"
        raise RecipeError(message)
    return nodes.constant(np.reshape(values[:count], (1, -1, 1, 1)), np.float32)


def _is_valid(nodes: Nodes) -> str:
    """Return bool (N,1,H,W): true inside the image, false in the padding."""
    shape = nodes.add("Shape", "image")
    size = nodes.integers("image_size")
    zero = nodes.constant(0, np.int64)
    one = nodes.constant(1, np.int64)
    inside = []
    for axis, column in ((2, (1, 1, -1, 1)), (3, (1, 1, 1, -1))):
        length = nodes.add("Gather", shape, nodes.constant(axis, np.int64), axis=0)
        places = nodes.reshape(nodes.add("Range", zero, length, one), column)
        valid = nodes.reshape(nodes.slice(size, axis - 2, axis - 1, 1), (-1, 1, 1, 1))
        inside.append(nodes.add("Less", places, valid))
    return nodes.add("And", *inside)


def _normalised(
    nodes: Nodes, stated: pb.NetworkInput, port: ImagePort, *, is_padded: bool
) -> str:
    mean, std = (
        _per_channel(nodes, stated, name, port.channels) for name in ("mean", "std")
    )
    centred = nodes.add("Sub", nodes.floats("image"), mean)
    value = nodes.add("Div", centred, std)
    if is_padded:
        fill = _per_channel(nodes, stated, "fill", port.channels)
        value = nodes.add("Where", _is_valid(nodes), value, fill)
    return value


def image_value(
    nodes: Nodes, stated: pb.NetworkInput, port: ImagePort, *, is_padded: bool
) -> str:
    """Append what makes the file's image of the input `image`.

    Args:
        nodes: Appended to.
        stated: The bundle's: normalisation for files that take float32.
        port: What the file takes.
        is_padded: There is an `image_size`; beyond it lies the fill.

    Raises:
        RecipeError: Element types contradict each other.
    """
    if stated.element_type == pb.ELEMENT_FLOAT32:
        if not port.is_float or port.channels != len(stated.mean):
            message = "the ONNX file takes no float32 image of as many channels"
            raise RecipeError(f"input.element_type: {message}; use ELEMENT_UINT8")
        value = "image"
    elif port.is_float:
        value = _normalised(nodes, stated, port, is_padded=is_padded)
    else:
        value = nodes.add("Concat", *["image"] * port.channels, axis=1)
    if port.is_channels_last:
        value = nodes.add("Transpose", value, perm=[0, 2, 3, 1])
    return value


def size_value(nodes: Nodes, port: SizePort) -> str:
    """Append what makes the file's image sizes of `image_size` (height, width)."""
    value = "image_size"
    if port.is_width_first:
        order = nodes.constant([1, 0], np.int64)
        value = nodes.add("Gather", value, order, axis=1)
    if port.element_type == TensorProto.INT32:
        return value
    return nodes.add("Cast", value, to=port.element_type)
