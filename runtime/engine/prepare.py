"""A decoded image to the inputs of the networks it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends.on_device import PlacedImage
from spinert.runtime.image import Image, Note, Spacing
from spinert.runtime.preprocess.canvas import Placement, placement
from spinert.runtime.preprocess.contrast import contrast_notes
from spinert.runtime.preprocess.levels import levels_from_image
from spinert.runtime.preprocess.network_input import WantedInput, network_inputs

__all__ = ["NetworkTensor", "Prepared", "notes_of", "prepared_from_image"]


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
    """By role; empty where they are made on the device."""
    on_device: Mapping[str, PlacedImage] = field(default_factory=dict)
    """By role; empty where they are made on the host."""

    def input_of(self, role: str) -> NetworkTensor | PlacedImage:
        """Return the input of network `role`, wherever it is."""
        return self.on_device[role] if self.on_device else self.inputs[role]

    def release(self) -> None:
        """Give up the frame's place on the device; twice is harmless."""
        for placed in self.on_device.values():
            placed.image.release()


def prepared_from_image(
    image: Image, spec: pb.Bundle, roles: Iterable[str]
) -> Prepared:
    """Make the inputs of networks `roles` and note the quality of `image`.

    Raises:
        FrameRefused: The image has no grey levels that could be analysed.
    """
    levels = levels_from_image(image, spec.grey)
    rows, columns = image.pixels.shape
    wanted = {role: _wanted(spec.networks[role].input, rows, columns) for role in roles}
    made, counts = network_inputs(image.pixels, levels, list(wanted.values()))
    notes = image.notes | contrast_notes(image.pixels, levels, counts)
    places = [asked.placement for asked in wanted.values()]
    return Prepared(
        rows=rows,
        columns=columns,
        spacing=image.spacing,
        notes=notes_of(notes, rows, columns, places),
        inputs={
            role: NetworkTensor(pixels=pixels, placement=place)
            for role, pixels, place in zip(wanted, made, places, strict=True)
        },
    )


def _wanted(spec: pb.NetworkInput, rows: int, columns: int) -> WantedInput:
    return WantedInput(placement=placement(rows, columns, spec.canvas), spec=spec)


def notes_of(
    notes: frozenset[Note], rows: int, columns: int, places: Iterable[Placement]
) -> frozenset[Note]:
    """Return `notes`, and SMALL if a network sees the image blown up."""
    enlarged = any(place.enlarges(rows, columns) for place in places)
    return notes | ({Note.SMALL} if enlarged else frozenset())
