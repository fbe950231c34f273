"""What is known about a phantom: its views, findings and vertebrae."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LESIONS",
    "NO_FINDING",
    "Phantom",
    "Projection",
    "Region",
    "TrueFinding",
    "Vertebra",
    "Window",
]

LESIONS: Final = (
    "Osteophytes",
    "Disc space narrowing",
    "Surgical implant",
    "Foraminal stenosis",
    "Spondylolysthesis",
    "Vertebral collapse",
    "Other lesions",
)
"""Names of the seven classes, spelt as VinDr-SpineXR spells them."""

NO_FINDING: Final = "No finding"
"""Label of an image without findings in VinDr-SpineXR's tables."""

Box = tuple[float, float, float, float]
"""xmin, ymin, xmax, ymax in pixels; x to the right, y down, 0 at the first edge."""


class Projection(StrEnum):
    """How the beam passes the body."""

    LATERAL = "LATERAL"
    AP = "AP"


class Region(StrEnum):
    """The part of the spine in the field."""

    CERVICAL = "CERVICAL"
    THORACIC = "THORACIC"
    LUMBAR = "LUMBAR"


@dataclass(frozen=True, kw_only=True)
class TrueFinding:
    """One lesion."""

    label: str
    """One of LESIONS."""
    box: Box


@dataclass(frozen=True, kw_only=True)
class Vertebra:
    """One vertebral body that lies in the field."""

    level: str
    """For example "L4"."""
    box: Box


@dataclass(frozen=True, kw_only=True)
class Window:
    """Window Center and Window Width (DICOM PS3.3 C.11.2), in stored values."""

    center: float
    width: float


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """One radiograph with its truth."""

    pixels: NDArray[np.uint16]
    """Stored values (rows, columns); brightness as `photometric` says."""
    bits_stored: int
    photometric: str
    """MONOCHROME1 or MONOCHROME2."""
    pixel_spacing_mm: float
    """Imager Pixel Spacing, equal on both axes."""
    window: Window | None
    projection: Projection
    region: Region
    findings: tuple[TrueFinding, ...]
    """Empty: a normal image."""
    vertebrae: tuple[Vertebra, ...]
    faces_right: bool = False
    """Of a lateral view: the anterior side is on the right of the image."""
