"""The inputs of an ONNX file, and whether a bundle can feed them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from onnx import TensorProto

from spinert.export.errors import GraphError, RecipeError
from spinert.export.onnx_import.reading import ReadModel
from spinert.proto import bundle_pb2 as pb

__all__ = ["ImagePort", "SizePort", "check_canvas", "image_port", "size_port"]

_IMAGE_TYPES: Final = frozenset((TensorProto.UINT8, TensorProto.FLOAT))
_SIZE_TYPES: Final = frozenset(
    (TensorProto.INT32, TensorProto.INT64, TensorProto.FLOAT)
)


@dataclass(frozen=True, kw_only=True)
class ImagePort:
    """The input that takes the image."""

    name: str
    is_float: bool
    channels: int
    is_channels_last: bool
    height: int | None
    """None: free."""
    width: int | None


@dataclass(frozen=True, kw_only=True)
class SizePort:
    """The input that takes the size of each image."""

    name: str
    element_type: int
    """Of `onnx.TensorProto`."""
    is_width_first: bool


def _inputs(read: ReadModel) -> dict[str, Any]:
    """Return the inputs that must be fed; old files list their weights as well."""
    weights = {tensor.name for tensor in read.model.graph.initializer}
    return {v.name: v for v in read.model.graph.input if v.name not in weights}


def _named(read: ReadModel, name: str, others: set[str]) -> Any:
    inputs = {k: v for k, v in _inputs(read).items() if k not in others}
    if name in inputs:
        return inputs[name]
    shown = ", ".join(sorted(inputs))
    if name or len(inputs) != 1:
        wanted = f"no input {name!r}" if name else f"{len(inputs)} inputs"
        message = f"{read.name}: has {wanted}; name one in mapping.input: {shown}"
        raise RecipeError(message)
    return next(iter(inputs.values()))


def _dimension(dimension: Any) -> int | None:
    return int(dimension.dim_value) if dimension.dim_value > 0 else None


def image_port(
    read: ReadModel, name: str, *, layout: str, size_name: str = ""
) -> ImagePort:
    """Return the image input.

    Args:
        read: The file.
        name: Of the input; empty: the only one besides `size_name`.
        layout: "nchw" or "nhwc".
        size_name: The input that takes image sizes, if any.

    Raises:
        GraphError: It takes something that cannot be made of a grey image.
        RecipeError: There is no such input.
    """
    value = _named(read, name, {size_name})
    tensor = value.type.tensor_type
    sizes = [_dimension(dimension) for dimension in tensor.shape.dim]
    where = f"{read.name}: input {value.name!r}"
    if tensor.elem_type not in _IMAGE_TYPES:
        raise GraphError(f"{where} takes neither uint8 nor float32; export in float32")
    if len(sizes) != 4:
        raise GraphError(f"{where} has {len(sizes)} axes; an image has four")
    is_last = layout == "nhwc"
    channels = sizes.pop(3 if is_last else 1)
    if channels not in (1, 3):
        message = f'has {channels or "free"} channels, not 1 or 3; try layout = "nhwc"'
        raise GraphError(f"{where} {message}")
    return ImagePort(
        name=value.name,
        is_float=tensor.elem_type == TensorProto.FLOAT,
        channels=channels,
        is_channels_last=is_last,
        height=sizes[1],
        width=sizes[2],
    )


def size_port(read: ReadModel, name: str, *, is_width_first: bool) -> SizePort:
    """Return the input that takes image sizes (N,2).

    Raises:
        GraphError: It takes something else.
        RecipeError: There is no such input.
    """
    inputs = _inputs(read)
    if name not in inputs:
        shown = ", ".join(sorted(inputs))
        message = f"{read.name}: has no input {name!r}; mapping.image_size is one of "
        raise RecipeError(f"{message}{shown}")
    tensor = inputs[name].type.tensor_type
    if tensor.elem_type not in _SIZE_TYPES or len(tensor.shape.dim) != 2:
        message = f"{read.name}: input {name!r} takes no image sizes (N,2)"
        raise GraphError(f"{message}; remove mapping.image_size")
    return SizePort(
        name=name, element_type=tensor.elem_type, is_width_first=is_width_first
    )


def check_canvas(read: ReadModel, port: ImagePort, canvas: pb.CanvasPolicy) -> None:
    """Check that the file takes every size that the bundle's canvas makes.

    Raises:
        RecipeError: The file takes one size only and the canvas makes others.
    """
    if port.height is None and port.width is None:
        return
    kind = canvas.WhichOneof("kind") or ""
    policy = getattr(canvas, kind)
    made = (getattr(policy, "height", None), getattr(policy, "width", None))
    for taken, given in zip((port.height, port.width), made, strict=True):
        if taken not in (None, given):
            message = (
                f"{read.name}: takes images of {port.height or 'any'} x "
                f"{port.width or 'any'} (height x width) only; state the canvas in "
                "the recipe: [bundle.networks.ROLE.input.canvas.letterbox] or .fixed"
            )
            raise RecipeError(message)
