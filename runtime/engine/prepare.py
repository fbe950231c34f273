"""A decoded image to the inputs of the networks it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.image import Image, Note, Spacing
from spinert.runtime.preprocess.canvas import Placement, placement
from spinert.runtime.preprocess.grey import grey_from_image
from spinert.runtime.preprocess.network_input import network_input

__all__ = ["NetworkTensor", "Prepared", "prepared_from_image"]


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkTensor:
    """One frame as one network wants it."""

    pixels: npt.NDArray[Any]
    """(C, H, W): uint8 with C = 1, or normalised float32."""
    placement: Placement

    @property
    def size(self) -> tuple[int, int]:
        """Padded (height, width): frames of equal size share a batch."""
        return self.placement.height, self.placement.width


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """What is left of an image once its pixels are not needed any more."""

    rows: int
    columns: int
    spacing: Spacing | None
    notes: frozenset[Note]
    inputs: Mapping[str, NetworkTensor]
    """By role."""


def prepared_from_image(
    image: Image, spec: pb.Bundle, roles: Iterable[str]
) -> Prepared:
    """Make the inputs of networks `roles` and note the quality of `image`.

    Raises:
        FrameRefused: The image has no grey levels that could be analysed.
    """
    grey = grey_from_image(image, spec.grey)
    rows, columns = image.pixels.shape
    inputs = {}
    for role in roles:
        wanted = spec.networks[role].input
        place = placement(rows, columns, wanted.canvas)
        pixels = network_input(grey.pixels, place, wanted)
        inputs[role] = NetworkTensor(pixels=pixels, placement=place)
    enlarged = any(t.placement.enlarges(rows, columns) for t in inputs.values())
    return Prepared(
        rows=rows,
        columns=columns,
        spacing=image.spacing,
        notes=grey.notes | ({Note.SMALL} if enlarged else frozenset()),
        inputs=inputs,
    )
