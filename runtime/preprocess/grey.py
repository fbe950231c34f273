"""Stored values to 8-bit grey in the image's own size, for people.

Networks' inputs are made without it: see `network_input`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spinert.proto import bundle_pb2
from spinert.runtime.image import Image, Note
from spinert.runtime.preprocess.contrast import (
    contrast_notes,
    contrast_notes_from_counts,
)
from spinert.runtime.preprocess.levels import levels_from_counts, levels_from_image
from spinert.runtime.preprocess.resample import Target, resized_grey

__all__ = ["Grey", "GreyTable", "grey_from_image", "table_from_counts"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Grey:
    """What every network sees of an image, before resizing."""

    pixels: npt.NDArray[np.uint8]
    """[rows, columns], C-contiguous."""
    notes: frozenset[Note]
    """Those of the image and CONSTANT, LOW_CONTRAST, CLIPPED."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GreyTable:
    """The 8-bit grey of every stored value of an image."""

    greys: npt.NDArray[np.uint8]
    """By stored value minus the smallest that occurs, up to the largest."""
    notes: frozenset[Note]
    """Those of the image and CONSTANT, LOW_CONTRAST, CLIPPED."""


def table_from_counts(
    image: Image,
    rule: bundle_pb2.GreyRule,
    first: int,
    counts: npt.NDArray[np.uint32],
) -> GreyTable:
    """Decide the grey of every stored value of `image` as `rule` says.

    Args:
        image: Its pixels are not looked at.
        rule: The bundle's.
        first: The smallest stored value.
        counts: How often each value occurs, from `first` to the largest.

    Raises:
        MalformedFrame: As `levels_from_image`.
    """
    levels = levels_from_counts(image, rule, first, counts)
    notes = contrast_notes_from_counts(levels, counts)
    return GreyTable(greys=levels.table, notes=image.notes | notes)


def grey_from_image(image: Image, rule: bundle_pb2.GreyRule) -> Grey:
    """Reduce `image` to 8-bit grey as `rule` says.

    Raises:
        MalformedFrame: As `levels_from_image`.
    """
    levels = levels_from_image(image, rule)
    rows, columns = image.pixels.shape
    same_size = Target(
        valid_height=rows, valid_width=columns, height=rows, width=columns
    )
    (pixels,), counts = resized_grey(image.pixels, levels, [same_size])
    notes = contrast_notes(image.pixels, levels, counts)
    return Grey(pixels=pixels, notes=image.notes | notes)
