"""Which lesions a patient has, and where: plausible together, inside the field."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from spinert.phantom.column import column_from_plan
from spinert.phantom.levels import index_of_level
from spinert.phantom.pathology import drawn_lesion
from spinert.phantom.plan import Kind, Lesion, Plan
from spinert.phantom.truth import Projection, Region

__all__ = ["chosen_lesions"]

_INSIDE_MM: Final = 3.0
"""A lesion's box keeps this far from the edges of the collimated field."""

_View = tuple[Region, Projection]

_LEVELS: Final[dict[_View, tuple[str, str]]] = {
    (Region.LUMBAR, Projection.LATERAL): ("T12", "L5"),
    (Region.LUMBAR, Projection.AP): ("T12", "L4"),
    (Region.THORACIC, Projection.LATERAL): ("T4", "T11"),
    (Region.THORACIC, Projection.AP): ("T4", "T11"),
    (Region.CERVICAL, Projection.LATERAL): ("C3", "C6"),
    (Region.CERVICAL, Projection.AP): ("C4", "C7"),
}
"""First and last vertebra that may have a lesion: nothing hides these levels."""

_CHANCES: Final[dict[_View, dict[str, float]]] = {
    (Region.LUMBAR, Projection.LATERAL): {
        "implant": 0.18,
        "slip": 0.36,
        "collapse": 0.22,
        "other": 0.20,
        "narrow": 0.38,
        "stenosis": 0.36,
        "spurs": 0.55,
    },
    (Region.LUMBAR, Projection.AP): {
        "implant": 0.22,
        "collapse": 0.24,
        "other": 0.26,
        "narrow": 0.32,
        "spurs": 0.62,
    },
    (Region.THORACIC, Projection.LATERAL): {
        "implant": 0.2,
        "collapse": 0.36,
        "other": 0.24,
        "narrow": 0.25,
        "spurs": 0.6,
    },
    (Region.THORACIC, Projection.AP): {
        "implant": 0.2,
        "collapse": 0.32,
        "other": 0.26,
        "narrow": 0.22,
        "spurs": 0.6,
    },
    (Region.CERVICAL, Projection.LATERAL): {
        "implant": 0.22,
        "slip": 0.32,
        "collapse": 0.08,
        "other": 0.18,
        "narrow": 0.4,
        "stenosis": 0.36,
        "spurs": 0.6,
    },
    (Region.CERVICAL, Projection.AP): {
        "implant": 0.24,
        "collapse": 0.08,
        "other": 0.24,
        "narrow": 0.3,
        "spurs": 0.6,
    },
}

_SLIPPING: Final = {Region.LUMBAR: ("L3", "L5"), Region.CERVICAL: ("C3", "C5")}
_STENOTIC: Final = {Region.LUMBAR: ("L1", "L4"), Region.CERVICAL: ("C3", "C6")}


def chosen_lesions(plan: Plan, rng: np.random.Generator) -> tuple[Lesion, ...]:
    """Return at least one lesion, every box inside the collimated field.

    Args:
        plan: A healthy patient in a field.
        rng: Source of the choice.
    """
    while True:
        lesions = _Chooser(plan, rng).choose()
        # A lesion may move others out of the field; then it is dropped.
        kept = _inside(replace(plan, lesions=lesions))
        while len(kept) < len(lesions):
            lesions = kept
            kept = _inside(replace(plan, lesions=lesions))
        if kept:
            return kept


def _inside(plan: Plan) -> tuple[Lesion, ...]:
    column = column_from_plan(plan)
    left, top, right, bottom = plan.field.margins_mm
    if plan.patient.faces_right:
        left, right = right, left
    half_width, half_height = plan.field.width_mm / 2, plan.field.height_mm / 2
    kept = []
    for lesion in plan.lesions:
        x0, y0, x1, y1 = drawn_lesion(plan, column, lesion).box
        if (
            x0 > left - half_width + _INSIDE_MM
            and x1 < half_width - right - _INSIDE_MM
            and y0 > top - half_height + _INSIDE_MM
            and y1 < half_height - bottom - _INSIDE_MM
        ):
            kept.append(lesion)
    return tuple(kept)


class _Chooser:
    """One draw; remembers which vertebrae and discs already have a lesion."""

    def __init__(self, plan: Plan, rng: np.random.Generator) -> None:
        self._rng = rng
        self._lateral = plan.patient.projection is Projection.LATERAL
        self._region = plan.patient.region
        view = (plan.patient.region, plan.patient.projection)
        first, last = (index_of_level(name) for name in _LEVELS[view])
        self._levels = range(first, last + 1)
        self._chances = _CHANCES[view]
        self._bodies: set[int] = set()
        self._discs: set[int] = set()
        self._lesions: list[Lesion] = []

    def choose(self) -> tuple[Lesion, ...]:
        """Return lesions, those that take most room first."""
        steps = {
            "implant": self._implant,
            "slip": self._slip,
            "collapse": self._collapse,
            "other": self._other,
            "narrow": self._narrow,
            "stenosis": self._stenosis,
            "spurs": self._spurs,
        }
        for name, chance in self._chances.items():
            if self._rng.random() < chance:
                steps[name]()
        return tuple(self._lesions)

    def _add(
        self, kind: Kind, level: int, *, last: int | None = None, side: int = -1
    ) -> None:
        self._lesions.append(
            Lesion(
                kind=kind,
                level=level,
                last=level if last is None else last,
                side=side,
                severity=float(self._rng.random()),
            )
        )

    def _any(self, levels: list[int]) -> int | None:
        return int(self._rng.choice(levels)) if levels else None

    def _free_discs(self) -> list[int]:
        return [at for at in self._levels if at not in self._discs]

    def _free_bodies(self) -> list[int]:
        return [at for at in self._levels if at not in self._bodies]

    def _implant(self) -> None:
        kinds = [Kind.SCREWS, Kind.SCREWS, Kind.CAGE]
        if self._region is Region.CERVICAL:
            kinds = [Kind.PLATE, Kind.PLATE, Kind.CAGE]
        kind = kinds[int(self._rng.integers(3))]
        span = 1 if kind is Kind.CAGE else int(self._rng.integers(1, 4))
        first = self._any([at for at in self._levels if at + span in self._levels])
        if first is None:
            return
        self._add(kind, first, last=first + span)
        self._bodies |= set(range(first, first + span + 1))
        self._discs |= set(range(first - 1, first + span + 1))

    def _slip(self) -> None:
        low, high = (index_of_level(name) for name in _SLIPPING[self._region])
        level = self._any(
            [
                at
                for at in self._free_discs()
                if low <= at <= high and not {at, at + 1} & self._bodies
            ]
        )
        if level is None:
            return
        self._add(
            Kind.SLIP, level, last=level + 1, side=-1 if self._rng.random() < 0.8 else 1
        )
        self._bodies |= {level, level + 1}
        self._discs |= {level}

    def _collapse(self) -> None:
        kinds = (Kind.WEDGE, Kind.BICONCAVE, Kind.CRUSH)
        for _ in range(1 + int(self._rng.random() < 0.2)):
            level = self._any(self._free_bodies())
            if level is None:
                return
            self._add(kinds[int(self._rng.integers(3))], level)
            self._bodies |= {level - 1, level, level + 1}
            self._discs |= {level - 1, level}

    def _other(self) -> None:
        kinds = [Kind.SCLEROTIC, Kind.LYTIC, Kind.IVORY, Kind.BLOCK]
        kind = kinds[int(self._rng.choice(4, p=(0.4, 0.3, 0.15, 0.15)))]
        for _ in range(1 + int(kind is Kind.SCLEROTIC and self._rng.random() < 0.4)):
            bodies = self._free_bodies()
            if kind is Kind.BLOCK:
                bodies = [
                    at for at in bodies if at + 1 in bodies and at not in self._discs
                ]
            level = self._any(bodies)
            if level is None:
                return
            last = level + 1 if kind is Kind.BLOCK else level
            self._add(kind, level, last=last)
            self._bodies |= {level, last}
            if kind is Kind.BLOCK:
                self._discs.add(level)

    def _narrow(self) -> None:
        for _ in range(1 + int(self._rng.random() < 0.3)):
            level = self._any(self._free_discs())
            if level is None:
                return
            self._add(Kind.NARROW_DISC, level, last=level + 1)
            self._discs.add(level)
            if self._rng.random() < 0.45:
                self._add(Kind.SPURS, level, last=level + 1, side=self._spur_side())

    def _stenosis(self) -> None:
        low, high = (index_of_level(name) for name in _STENOTIC[self._region])
        metal = {
            at
            for lesion in self._lesions
            if lesion.kind in {Kind.SCREWS, Kind.CAGE, Kind.PLATE, Kind.SLIP}
            for at in range(lesion.level - 1, lesion.last + 1)
        }
        free = [at for at in self._levels if low <= at <= high and at not in metal]
        for _ in range(1 + int(self._rng.random() < 0.3)):
            level = self._any(free)
            if level is None:
                return
            free.remove(level)
            self._add(Kind.STENOSIS, level, last=level + 1, side=1)

    def _spurs(self) -> None:
        free = self._free_discs()
        sides = (-1,) if self._lateral else (-1, 1)
        for _ in range(int(self._rng.integers(1, 4))):
            level = self._any(free)
            if level is None:
                return
            free.remove(level)
            for side in sides:
                if len(sides) == 1 or self._rng.random() < 0.65:
                    self._add(Kind.SPURS, level, last=level + 1, side=side)

    def _spur_side(self) -> int:
        return -1 if self._lateral or self._rng.random() < 0.5 else 1
