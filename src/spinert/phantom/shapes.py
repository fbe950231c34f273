"""Outlines in millimetres: x to the right, y down the image, points as (n, 2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from math import cos, sin

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Box",
    "Frame",
    "Grain",
    "Part",
    "Points",
    "band",
    "blob",
    "box_around",
    "curve",
    "ellipse",
    "rounded",
    "soft_part",
]

Points = NDArray[np.float64]
Box = tuple[float, float, float, float]


class Grain(Enum):
    """How finely a part is drawn, and what it is made of."""

    SOFT = auto()
    """Organs and gas: drawn coarsely."""
    SKELETON = auto()
    """Bones around the spine."""
    SPINE = auto()
    """Vertebrae and their lesions: drawn at the resolution of the detector."""
    METAL = auto()
    """As fine as the spine, without the texture of bone."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One solid as the beam sees it: an outline and what it attenuates.

    Attenuations are line integrals (natural logarithm) beyond the soft tissue that
    the part displaces; gas and holes have negative ones.
    """

    outline: Points = field(repr=False)
    core: float = 0.0
    """At the thickest place."""
    round_mm: float = 0.0
    """Distance from the edge over which the thickness grows; 0 is a flat plate."""
    rim: float = 0.0
    """At the edge, where the beam is tangential to the cortex."""
    rim_mm: float = 1.2
    grain: Grain = Grain.SPINE


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A vertebra's own axes: u along its endplates, v down the spine."""

    x_mm: float
    y_mm: float
    angle_rad: float
    """Direction of v: 0 is straight down, positive turns it to the right."""

    def place(self, local: Points | Sequence[tuple[float, float]]) -> Points:
        """Return points (n, 2) of (u, v) as points of the image."""
        points = np.asarray(local, np.float64)
        c, s = cos(self.angle_rad), sin(self.angle_rad)
        u, v = points[:, 0], points[:, 1]
        placed = np.empty_like(points)
        placed[:, 0] = self.x_mm + u * c + v * s
        placed[:, 1] = self.y_mm - u * s + v * c
        return placed

    def place_parts(self, parts: Iterable[Part]) -> tuple[Part, ...]:
        """Return parts that are drawn in (u, v) as parts of the image."""
        return tuple(replace(part, outline=self.place(part.outline)) for part in parts)


def rounded(corners: Points | Sequence[tuple[float, float]], times: int = 2) -> Points:
    """Cut the corners of a closed outline (Chaikin's scheme)."""
    points = np.asarray(corners, np.float64)
    for _ in range(times):
        following = np.concatenate((points[1:], points[:1]))
        cut = np.empty((2 * len(points), 2))
        cut[0::2] = 0.75 * points + 0.25 * following
        cut[1::2] = 0.25 * points + 0.75 * following
        points = cut
    return points


def ellipse(
    centre: tuple[float, float], radii: tuple[float, float], turn_rad: float = 0.0
) -> Points:
    """Return an ellipse; `turn_rad` turns it clockwise as seen."""
    angle = np.linspace(0.0, 2.0 * np.pi, 28, endpoint=False)
    x, y = radii[0] * np.cos(angle), radii[1] * np.sin(angle)
    c, s = cos(turn_rad), sin(turn_rad)
    return np.column_stack((centre[0] + x * c - y * s, centre[1] + x * s + y * c))


def band(
    path: Points | Sequence[tuple[float, float]],
    width_mm: float | Sequence[float] | NDArray[np.float64],
) -> Points:
    """Return the outline of a ribbon along an open path."""
    line = np.asarray(path, np.float64)
    along = np.empty_like(line)
    along[1:-1] = line[2:] - line[:-2]
    along[0], along[-1] = line[1] - line[0], line[-1] - line[-2]
    half = 0.5 * np.asarray(width_mm) / np.hypot(along[:, 0], along[:, 1])
    across = np.empty_like(line)
    across[:, 0], across[:, 1] = -along[:, 1] * half, along[:, 0] * half
    return np.concatenate((line + across, (line - across)[::-1]))


def curve(corners: Points | Sequence[tuple[float, float]], times: int = 3) -> Points:
    """Return an open path through the ends of `corners`, its bends cut round."""
    points = np.asarray(corners, np.float64)
    for _ in range(times):
        first, second = points[:-1], points[1:]
        cut = np.empty((2 * len(points), 2))
        cut[0], cut[-1] = points[0], points[-1]
        cut[1:-1:2] = 0.75 * first + 0.25 * second
        cut[2:-1:2] = 0.25 * first + 0.75 * second
        points = cut
    return points


def blob(
    rng: np.random.Generator,
    centre: tuple[float, float],
    radii: tuple[float, float],
    roughness: float,
) -> Points:
    """Return an irregular closed curve about an ellipse.

    Args:
        rng: Source of the irregularity.
        centre: Of the ellipse.
        radii: Of the ellipse.
        roughness: Relative amplitude of the irregularity, 0 to about 0.5.
    """
    angle = np.linspace(0.0, 2.0 * np.pi, 40, endpoint=False)
    radius = np.ones_like(angle)
    for order in range(2, 7):
        phase = rng.uniform(0.0, 2.0 * np.pi)
        radius += roughness * rng.normal() / order * np.cos(order * angle + phase)
    radius = np.clip(radius, 0.35, 1.8)
    return np.column_stack(
        (
            centre[0] + radii[0] * radius * np.cos(angle),
            centre[1] + radii[1] * radius * np.sin(angle),
        )
    )


def box_around(outlines: Sequence[Points]) -> Box:
    """Return the smallest box xmin, ymin, xmax, ymax about outlines."""
    points = np.concatenate(outlines)
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def soft_part(
    points: Sequence[tuple[float, float]], core: float, round_mm: float = 6.0
) -> Part:
    """Return an organ or an air space with a smooth outline through its corners."""
    return Part(
        outline=rounded(points, 3), core=core, round_mm=round_mm, grain=Grain.SOFT
    )
