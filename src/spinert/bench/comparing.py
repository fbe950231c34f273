"""Is a report worse than another, beyond noise? Pure.

Each figure has a value for each round. The ratio of the medians is told with an
interval from resampling both sets of rounds; a figure is worse only where the whole
interval is on that side of 1, and further than the tolerance. A run that failed is
worse whatever its figures. What the machine itself does slower or faster is told by
the yardstick, a fixed computation in every round.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np

from spinert.bench.figures import Figure, figure_from_json

__all__ = ["Change", "Comparison", "Verdict", "compared"]

_RESAMPLES: Final = 10_000
_SEED: Final = 1999
_TAIL: Final = 2.5
"""Percent on either side of the interval."""
_LEAST_ROUNDS: Final = 3
_NOTHING: Final = 1e-9
"""What a figure of 0 counts as, such as the rate of a server that answers nothing: so
that it has a ratio, far beyond any other."""
YARDSTICK: Final = "machine.yardstick"
_SAME_MACHINE: Final = ("cpu", "cores", "gpus")
_SAME_SUBJECT: Final = ("bundle_sha256", "backend", "precision")

_SAME_LOAD: Final = (
    ("levels", "frame", "the frames of the levels"),
    ("traffic", "frames", "the frames of the open loop"),
)


class Verdict(StrEnum):
    """What became of a figure."""

    WORSE = "worse"
    BETTER = "better"
    SAME = "same"
    UNKNOWN = "too few rounds"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One figure of both reports."""

    name: str
    unit: str
    before: float
    after: float
    """Medians."""
    ratio: float
    """Above 1: worse, whichever way the figure counts."""
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two reports."""

    changes: tuple[Change, ...]
    failures: tuple[str, ...]
    """What the second run did not do: worse than any figure tells."""
    warnings: tuple[str, ...]
    """Why they may not be comparable."""

    @property
    def has_regressed(self) -> bool:
        """Tell whether any figure is worse, or the second run failed."""
        is_worse = any(change.verdict is Verdict.WORSE for change in self.changes)
        return is_worse or bool(self.failures)


def compared(
    before: Mapping[str, Any], after: Mapping[str, Any], *, tolerance: float
) -> Comparison:
    """Compare the figures that both reports have.

    Args:
        before: The report to be compared with.
        after: The report that may be worse.
        tolerance: Least change that matters, e.g. 0.05.
    """
    theirs = {f["name"]: figure_from_json(f) for f in before["figures"]}
    ours = {f["name"]: figure_from_json(f) for f in after["figures"]}
    names = [name for name in ours if name in theirs and name != YARDSTICK]
    return Comparison(
        changes=tuple(_change(theirs[n], ours[n], tolerance) for n in names),
        failures=tuple(_failures(after)),
        warnings=tuple(_warnings(before, after, theirs, ours)),
    )


def _change(before: Figure, after: Figure, tolerance: float) -> Change:
    ratio, low, high = _ratio(before.values, after.values)
    if not after.lower_is_better:
        ratio, low, high = 1 / ratio, 1 / high, 1 / low
    return Change(
        name=after.name,
        unit=after.unit,
        before=before.median,
        after=after.median,
        ratio=ratio,
        low=low,
        high=high,
        verdict=_verdict(before, after, (low, high), tolerance),
    )


def _verdict(
    before: Figure, after: Figure, interval: tuple[float, float], tolerance: float
) -> Verdict:
    low, high = interval
    if min(len(before.values), len(after.values)) < _LEAST_ROUNDS:
        return Verdict.UNKNOWN
    if low > 1 + tolerance:
        return Verdict.WORSE
    if high < 1 / (1 + tolerance):
        return Verdict.BETTER
    return Verdict.SAME


def _ratio(
    before: Sequence[float], after: Sequence[float]
) -> tuple[float, float, float]:
    """Return after over before in the medians, and the ends of its interval."""
    rng = np.random.default_rng(_SEED)
    ours, theirs = (_resampled(values, rng) for values in (after, before))
    low, high = np.percentile(ours / theirs, [_TAIL, 100 - _TAIL])
    ratio = float(np.median(_above_0(after)) / np.median(_above_0(before)))
    return ratio, float(low), float(high)


def _above_0(values: Sequence[float]) -> np.ndarray:
    return np.maximum(np.asarray(values, np.float64), _NOTHING)


def _resampled(values: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Return medians of resamples, none of them 0."""
    known = _above_0(values)
    drawn = rng.integers(0, len(known), (_RESAMPLES, len(known)))
    return np.asarray(np.median(known[drawn], axis=1))


def _failures(after: Mapping[str, Any]) -> Iterator[str]:
    """Tell what makes a run fail; figures of the answers it did give excuse nothing."""
    if count := after["failures"]["frames"]:
        yield f"{count} frames of the second report have no answer"
    if "accuracy" in after and not after["accuracy"]["passed"]:
        yield "the server of the second report answers otherwise than the pipeline"


def _warnings(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    theirs: Mapping[str, Figure],
    ours: Mapping[str, Figure],
) -> Iterator[str]:
    for part, names in (("machine", _SAME_MACHINE), ("subject", _SAME_SUBJECT)):
        for name in names:
            if before[part][name] != after[part][name]:
                yield f"{name} was {before[part][name]} and is {after[part][name]}"
    yield from _of_the_load(before, after)
    if count := before["failures"]["frames"]:
        yield f"{count} frames of the first report have no answer"
    yield from _of_the_machine(theirs, ours)
    if missing := sorted(set(theirs) ^ set(ours)):
        yield f"in one report only: {', '.join(missing)}"


def _of_the_load(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Tell where the frames that were sent differ, or how they arrived."""
    for part, name, what in _SAME_LOAD:
        if part in before and part in after and before[part][name] != after[part][name]:
            yield f"{what} differ"
    if "traffic" in before and "traffic" in after:
        patterns = [report["settings"]["pattern"] for report in (before, after)]
        if patterns[0] != patterns[1]:
            yield f"pattern was {patterns[0]} and is {patterns[1]}"


def _of_the_machine(
    theirs: Mapping[str, Figure], ours: Mapping[str, Figure]
) -> Iterator[str]:
    if YARDSTICK not in theirs or YARDSTICK not in ours:
        return
    ratio, low, high = _ratio(theirs[YARDSTICK].values, ours[YARDSTICK].values)
    if low > 1 or high < 1:
        yield (
            f"the machine itself took {ratio:.2f} times as long ({low:.2f} to "
            f"{high:.2f}) for a fixed computation; see what else was running"
        )
