"""What a frame becomes once it is decoded: stored values and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, unique

import numpy as np
import numpy.typing as npt

__all__ = [
    "Image",
    "LookupTable",
    "Note",
    "Photometric",
    "Rescale",
    "Spacing",
    "Stored",
    "VoiFunction",
    "Window",
]

Stored = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.int16]


@unique
class Photometric(StrEnum):
    """(0028,0004) Photometric Interpretation; grey kinds only."""

    MONOCHROME1 = "MONOCHROME1"
    MONOCHROME2 = "MONOCHROME2"


@unique
class VoiFunction(StrEnum):
    """(0028,1056) VOI LUT Function, PS3.3 C.11.2.1.3."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


@unique
class Note(Enum):
    """Input quality, told with the answer; values as in QualityNote on the wire."""

    CONSTANT = 1
    LOW_CONTRAST = 2
    CLIPPED = 3
    UNEXPECTED_BODY_PART = 4
    SPACING_MISSING = 5
    SPACING_NOT_SQUARE = 6
    LOSSY_COMPRESSION = 7
    TINTED = 8
    SMALL = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """(0028,1050) Window Center, (0028,1051) Window Width and their function."""

    center: float
    width: float
    function: VoiFunction = VoiFunction.LINEAR


@dataclass(frozen=True, kw_only=True, slots=True)
class LookupTable:
    """A Modality or VOI LUT Sequence item, PS3.3 C.11.1.1.1 and C.11.2.1.1."""

    first: int
    """First stored value mapped; below it the first entry applies."""
    bits: int
    """Bits of one entry, 8 to 16."""
    entries: npt.NDArray[np.uint16]
    """(0028,3006) LUT Data, at least one; above them the last entry applies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rescale:
    """(0028,1053) Rescale Slope and (0028,1052) Rescale Intercept."""

    slope: float
    intercept: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Spacing:
    """Millimetres between pixel centres: (0028,0030), else (0018,1164)."""

    row_mm: float
    """Between rows, vertically."""
    column_mm: float
    """Between columns, horizontally."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """A decoded frame.

    `pixels` holds stored values [rows, columns], sign-extended and with unused
    bits cleared (PS3.5 section 8.1.1), C-contiguous, read-only; it may be a view
    of memory that another process shares and is valid as long as the array lives.
    """

    pixels: Stored
    bits_stored: int
    photometric: Photometric
    is_display_ready: bool = False
    """True for 8-bit PNG/JPEG: grey levels already, not min-max stretched."""
    modality: Rescale | LookupTable | None = None
    voi_lut: LookupTable | None = None
    window: Window | None = None
    spacing: Spacing | None = None
    study_uid: str = ""
    """(0020,000D), for grouping and the reply only: never log it."""
    notes: frozenset[Note] = frozenset()

    @property
    def is_signed(self) -> bool:
        """(0028,0103) Pixel Representation."""
        return self.pixels.dtype.kind == "i"
