"""By which tolerances may a half-precision graph be served? As few as it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

import onnxruntime

from spinert.export.errors import ParityError
from spinert.export.parity import Golden, Measured, Run, Tally, runs_of
from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import (
    FP16,
    TOLERANCES,
    AgreementRule,
    rule_from_bundle,
)

__all__ = ["half_parity"]

_HALF_LIMITS: Final[Mapping[str, float]] = MappingProxyType(
    {"logits": 0.8, "boxes": 64.0, "scores": 0.16, "switched": 0.4}
)
"""The widest tolerances an FP16 graph may be given. Some networks amplify rounding
more than others, untrained ones most; boxes that leave the image are the largest."""
_MAY_BE_LOST: Final = 2.0
"""Of a frame, where proposals switch."""
_PAIRED: Final = ("boxes", "scores")
_HEADROOM: Final = 2.0
"""A GPU rounds in other places than the emulation; it has this much room for it."""


def half_parity(
    rounding: Path, golden: Golden, bundle: pb.Bundle, role: str
) -> Measured:
    """Measure an FP16 graph, and find the tolerances to serve it by.

    They are `TOLERANCES`, doubled for an output until it has headroom or its limit is
    reached; of several ways to that, the one with the fewest doublings.

    Args:
        rounding: The graph as `spinert.export.half.emulation` rounds it, an
            ONNX file.
        golden: What to run.
        bundle: Its rules and thresholds.
        role: Which network.

    Raises:
        ParityError: It differs too much for the widest tolerance.
    """
    session = onnxruntime.InferenceSession(rounding, providers=["CPUExecutionProvider"])
    runs = list(runs_of(session, golden))
    found: list[_Fit] = []
    for start in _starts(bundle.networks[role]):
        least = min((fit.doublings for fit in found if not fit.refusal), default=None)
        if least is not None and start.doublings >= least:
            break
        found.append(
            _fitted(runs, golden, start, partial(rule_from_bundle, bundle, role, FP16))
        )
    best = min(found, key=lambda fit: (bool(fit.refusal), fit.doublings))
    if best.refusal:
        way_out = 'export with precisions = ["fp32"]'
        raise ParityError(f"{role} in fp16: {found[0].refusal}; {way_out}")
    return best.measured


@dataclass(frozen=True, kw_only=True)
class _Start:
    """Tolerances to begin with."""

    tolerances: Mapping[str, float]
    doublings: int


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """Tolerances that were found for an FP16 graph."""

    measured: Measured
    doublings: int
    refusal: str = ""
    """What does not fit the widest."""


def _starts(network: pb.Network) -> Iterator[_Start]:
    """Yield the common tolerances, then those with wider scores.

    A candidate that a rounding takes over a cut leaves others to pair with: wider
    scores, within which it need not be found again, may save much wider boxes.
    """
    base = dict(TOLERANCES[FP16])
    yield _Start(tolerances=base, doublings=0)
    if network.output != pb.OUTPUT_CANDIDATES or network.HasField("split"):
        return
    for doublings in (1, 2, 3):
        wider = base["scores"] * 2**doublings
        if wider <= _HALF_LIMITS["scores"]:
            yield _Start(tolerances={**base, "scores": wider}, doublings=doublings)


def _fitted(
    runs: Sequence[Run],
    golden: Golden,
    start: _Start,
    rule_from: Callable[[Mapping[str, float]], AgreementRule],
) -> _Fit:
    """Double the tolerances that are too tight until all fit or one is at its limit."""
    rule, doublings = rule_from(start.tolerances), start.doublings
    while True:
        tally = Tally(rule=rule)
        for run in runs:
            tally.add(run, golden.references[run.frame])
        tight = [
            name for name in tally.worst if tally.misses(name, _headroom(name, rule))
        ]
        wider = _widened(rule, tight)
        if not tight or wider == rule.tolerances:
            break
        doublings += sum(wider[name] != rule.tolerances[name] for name in wider)
        rule = rule_from(wider)
    refusal = ""
    if tight:
        room = _headroom(tight[0], rule)
        refusal = tally.told(tight[0], rule.tolerances[tight[0]] / room)
    return _Fit(measured=tally.measured(), doublings=doublings, refusal=refusal)


def _headroom(name: str, rule: AgreementRule) -> float:
    """Return how many times its tolerance an output has to fit."""
    # A count is a count; and where proposals switch, a pair is within these two by
    # definition.
    exact = name == "labels" or (rule.switching and name in _PAIRED)
    return 1.0 if exact else _HEADROOM


def _widened(rule: AgreementRule, tight: Sequence[str]) -> dict[str, float]:
    """Return tolerances, those that are too tight doubled as far as they may be.

    Fewer candidates stay alone where the tolerances of a pair are wider. Only with
    proposals that switch may a candidate be lost, and that is stated.
    """
    limits = {**_HALF_LIMITS, "labels": _MAY_BE_LOST if rule.switching else 0.0}
    alone = {"switched", "labels"} & set(tight)
    names = {*tight, *(_PAIRED if alone else ())}
    wider = dict(rule.tolerances)
    for name in names:
        doubled = 2 * wider[name] if name != "labels" else wider[name] + 1
        wider[name] = min(doubled, limits[name])
    return wider
