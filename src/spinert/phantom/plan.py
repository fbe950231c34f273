"""What a phantom is before it is drawn: patient, lesions, field and exposure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from spinert.phantom.truth import Projection, Region

__all__ = ["Exposure", "Field", "Kind", "Lesion", "Patient", "Plan"]


class Kind(StrEnum):
    """The form a lesion takes."""

    SPURS = "spurs"
    NARROW_DISC = "narrow disc"
    SCREWS = "screws and rods"
    CAGE = "cage"
    PLATE = "anterior plate"
    STENOSIS = "stenosis"
    SLIP = "slip"
    WEDGE = "wedge"
    BICONCAVE = "biconcave"
    CRUSH = "crush"
    SCLEROTIC = "sclerotic focus"
    LYTIC = "lytic focus"
    IVORY = "ivory vertebra"
    BLOCK = "block vertebra"


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """One lesion and where it sits."""

    kind: Kind
    level: int
    """Index in LEVELS of the vertebra, or of the one above the disc."""
    last: int
    """Index of the lowest vertebra involved; `level` where it is one vertebra."""
    side: int
    """-1 or 1: front or back in a lateral view, the image's left or right in AP."""
    severity: float
    """0, just visible, to 1, gross."""


@dataclass(frozen=True, kw_only=True)
class Patient:
    """Build of one patient, as the beam meets it."""

    region: Region
    projection: Projection
    faces_right: bool
    """Lateral views only: the front is on the image's right."""
    size: float
    """Relative to an average adult; holds the magnification too."""
    curve: float
    """Factor on the sagittal curvature, about 1."""
    tilt_rad: float
    """Of the whole column in the image."""
    bend_rad: float
    """Amplitude of a sideways curve too mild to be a lesion."""
    turn: float
    """Axial rotation: shift of the back elements in AP, fraction of a width."""
    bone: float
    """Density of bone, about 1; falls with age."""
    girth: float
    """Soft tissue, about 1."""
    anatomy_seed: int
    """Of the shapes that carry no lesion: organs, gas, outlines, texture."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """What the detector sees, in its own plane."""

    width_mm: float
    height_mm: float
    level: int
    """Index of the vertebra at the field's middle."""
    offset_mm: tuple[float, float]
    """Of that vertebra from the middle of the field, x to the back in lateral views."""
    margins_mm: tuple[float, float, float, float]
    """Collimated away: left, top, right, bottom."""

    def reaches(self, y_mm: float, within_mm: float) -> bool:
        """Return whether something at `y_mm` that extends so far can be seen."""
        return abs(y_mm) < self.height_mm / 2 + within_mm


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """The beam, the detector and what the console does with the signal."""

    scatter: float
    """Scattered over primary radiation behind the grid."""
    heel: float
    """Relative fall of the beam from top to bottom; negative rises."""
    noise: float
    """Relative quantum noise at the median dose in a 0.2 mm pixel."""
    blur_mm: float
    """Width of the detector's response."""
    equalisation: float
    """Share of the low frequencies that the console removes."""
    detail: float
    """Relative boost of structures below a centimetre."""
    gamma: float
    shuttered: bool
    """Whether the console blackens what lies outside the collimation."""
    bits_stored: int
    inverted: bool
    """MONOCHROME1."""
    windowed: bool
    """Whether Window Center and Width are given."""
    marker: str
    """Lead letter, L or R, or empty."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides the pixels of one phantom."""

    patient: Patient
    lesions: tuple[Lesion, ...]
    field: Field
    exposure: Exposure
    long_edge_px: int
    noise_seed: int

    @property
    def spacing_mm(self) -> float:
        """Pixel spacing at the detector."""
        return max(self.field.width_mm, self.field.height_mm) / self.long_edge_px
