"""Sizes and tilts of the levels of the spine, from the axis to the sacrum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["LEVELS", "Level", "index_of_level"]


@dataclass(frozen=True, kw_only=True)
class Level:
    """One vertebra of an average adult and the disc below it."""

    name: str
    depth_mm: float
    """Front to back of the body."""
    height_mm: float
    width_mm: float
    """Side to side of the body."""
    disc_mm: float
    """Height of the disc below."""
    tilt_deg: float
    """Sagittal direction of the column here; positive runs backwards going down."""

    @property
    def part(self) -> str:
        """The letter of the region: C, T, L or S."""
        return self.name[0]


# name, depth, height, width, disc below, tilt: rounded from textbook morphometry.
_TABLE: Final = (
    ("C2", 15.5, 17.0, 19.0, 4.6, -9.0),
    ("C3", 15.5, 13.0, 20.0, 4.8, -6.0),
    ("C4", 15.7, 12.8, 21.0, 4.9, -2.0),
    ("C5", 15.9, 12.6, 22.0, 5.0, 3.0),
    ("C6", 16.4, 12.8, 23.5, 5.2, 9.0),
    ("C7", 16.8, 14.2, 25.5, 5.0, 15.0),
    ("T1", 17.2, 15.8, 27.0, 4.2, 20.0),
    ("T2", 18.0, 17.0, 26.5, 4.0, 20.0),
    ("T3", 19.5, 17.4, 26.0, 3.9, 17.0),
    ("T4", 21.0, 17.8, 26.0, 3.9, 13.0),
    ("T5", 22.5, 18.2, 26.5, 4.1, 9.0),
    ("T6", 24.0, 18.7, 27.5, 4.3, 5.0),
    ("T7", 25.5, 19.2, 28.5, 4.6, 1.0),
    ("T8", 26.6, 19.8, 29.5, 4.9, -3.0),
    ("T9", 27.6, 20.5, 31.0, 5.3, -7.0),
    ("T10", 28.6, 21.5, 33.0, 5.8, -11.0),
    ("T11", 29.5, 22.8, 36.0, 6.3, -14.0),
    ("T12", 30.5, 24.2, 39.0, 7.2, -17.0),
    ("L1", 31.5, 25.5, 41.0, 8.6, -16.0),
    ("L2", 32.5, 26.3, 43.0, 9.8, -11.0),
    ("L3", 33.5, 26.6, 45.0, 10.8, -4.0),
    ("L4", 34.3, 26.6, 47.5, 11.4, 7.0),
    ("L5", 34.5, 26.0, 50.0, 10.6, 21.0),
    ("S1", 31.0, 27.0, 48.0, 2.0, 40.0),
    ("S2", 23.0, 23.0, 38.0, 1.6, 52.0),
    ("S3", 17.0, 19.0, 30.0, 1.4, 58.0),
)

LEVELS: Final = tuple(
    Level(
        name=name,
        depth_mm=depth,
        height_mm=height,
        width_mm=width,
        disc_mm=disc,
        tilt_deg=tilt,
    )
    for name, depth, height, width, disc, tilt in _TABLE
)
"""C2 to S3, from the head downwards."""

_INDEX: Final = {level.name: at for at, level in enumerate(LEVELS)}


def index_of_level(name: str) -> int:
    """Return the place of a level, for example "L4", in LEVELS."""
    return _INDEX[name]
