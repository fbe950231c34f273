"""Which input shapes an engine is compiled for. Pure.

TensorRT compiles a network for ranges of shapes, optimisation profiles: it must run
everything between minimum and maximum, and is quickest at the optimum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.engine.warming import typical_tensor
from spinert.runtime.errors import ConfigError, Reason
from spinert.runtime.preprocess.canvas import placement

__all__ = [
    "LargestImage",
    "Profile",
    "ShapeRange",
    "profiles_from_network",
]

# Of one DICOM image: Rows and Columns are 16-bit (PS3.3 C.7.6.3.1).
_LONGEST_EDGE_PX = 65535

_Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class LargestImage:
    """Largest image a network of native size is compiled for; 0: not stated."""

    height_px: int = 0
    width_px: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ShapeRange:
    """Shapes one input may have, axis by axis, the batch first."""

    minimum: tuple[int, ...]
    optimum: tuple[int, ...]
    maximum: tuple[int, ...]

    def holds(self, shape: Sequence[int]) -> bool:
        """Tell whether `shape` lies within the range on every axis."""
        return len(shape) == len(self.minimum) and all(
            low <= size <= high
            for low, size, high in zip(self.minimum, shape, self.maximum, strict=True)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """Ranges of a network's inputs."""

    image: ShapeRange
    """(N,C,H,W)"""
    image_size: ShapeRange | None = None
    """(N,2), where the network takes it."""

    def inputs(self) -> Mapping[str, ShapeRange]:
        """Return the ranges by name of the graph's input."""
        named = {"image": self.image}
        if self.image_size:
            named["image_size"] = self.image_size
        return named


def profiles_from_network(
    network: pb.Network,
    *,
    max_batch: int,
    separate_single_frames: bool,
    largest: LargestImage,
) -> tuple[Profile, ...]:
    """Return the profiles that together hold every batch the runtime can form.

    Sizes: a fixed canvas and a letterbox have one. With a shortest edge the padded
    height and width lie between those of the most extreme images, and the optimum is
    the padded size of a lumbar radiograph in portrait. An image of native size may be
    as large as `largest`.

    Batches: one profile 1..max_batch with the optimum at max_batch where kernels are
    specialised to the actual shapes on the target (TensorRT-RTX). Where they are
    chosen when the engine is built (TensorRT), a lone frame would run kernels made for
    a full batch; it gets a profile of its own, 1..1, beside 2..max_batch. A second
    profile makes building 1.7 times as long and the engine 2 % larger (Sparse R-CNN
    R50, TensorRT-RTX 1.7.1); each needs an execution context, and switching between
    contexts costs nothing, unlike switching the profile of one.

    Args:
        network: What the bundle says of the network.
        max_batch: Largest batch that will be run, from 1.
        separate_single_frames: Give batches of one a profile of their own.
        largest: Bound of images that are not resized.

    Raises:
        ConfigError: The canvas is the image's own size and `largest` is not stated.
        BundleError: The canvas names no policy.
    """
    sizes = _sizes(network.input, largest)
    if separate_single_frames and max_batch > 1:
        batches = [(1, 1, 1), (2, max_batch, max_batch)]
    else:
        batches = [(1, max_batch, max_batch)]
    return tuple(_profile(network.input, batch, sizes) for batch in batches)


def _profile(
    spec: pb.NetworkInput, batch: tuple[int, int, int], sizes: Sequence[_Size]
) -> Profile:
    channels = 1 if spec.element_type == pb.ELEMENT_UINT8 else len(spec.mean)
    low, usual, high = (
        (count, channels, height, width)
        for count, (height, width) in zip(batch, sizes, strict=True)
    )
    image = ShapeRange(minimum=low, optimum=usual, maximum=high)
    if not spec.takes_image_size:
        return Profile(image=image)
    low2, usual2, high2 = ((count, 2) for count in batch)
    size = ShapeRange(minimum=low2, optimum=usual2, maximum=high2)
    return Profile(image=image, image_size=size)


def _sizes(spec: pb.NetworkInput, largest: LargestImage) -> tuple[_Size, _Size, _Size]:
    """Return minimum, optimum and maximum (height, width) in pixels."""
    place = typical_tensor(spec).placement
    usual = (place.height, place.width)
    match spec.canvas.WhichOneof("kind"):
        case "shortest_edge":
            low, high = _edge_bounds(spec.canvas)
        case "native":
            low, high = _native_bounds(spec.canvas, largest)
        case _:
            low = high = usual
    return low, _clamped(usual, low, high), high


def _edge_bounds(canvas: pb.CanvasPolicy) -> tuple[_Size, _Size]:
    """Return bounds of the padded size over all images there can be.

    The height never falls while an image gets taller or narrower, so that the
    extremes are those of the tallest and the widest image; the width likewise.
    """
    tall = placement(_LONGEST_EDGE_PX, 1, canvas)
    wide = placement(1, _LONGEST_EDGE_PX, canvas)
    return (wide.height, tall.width), (tall.height, wide.width)


def _native_bounds(
    canvas: pb.CanvasPolicy, largest: LargestImage
) -> tuple[_Size, _Size]:
    if largest.height_px < 1 or largest.width_px < 1:
        raise ConfigError(
            Reason.CONFIG_INVALID,
            "a network takes images in their own size: set engines.max_height_px and "
            "engines.max_width_px to the largest that will come",
        )
    low = placement(1, 1, canvas)
    high = placement(largest.height_px, largest.width_px, canvas)
    return (low.height, low.width), (high.height, high.width)


def _clamped(size: _Size, low: _Size, high: _Size) -> _Size:
    height, width = (
        min(max(edge, least), most)
        for edge, least, most in zip(size, low, high, strict=True)
    )
    return height, width
