"""How far is one answer of a network from another? Pure rules for both stages.

The export measures a graph with them before it writes a bundle, the runtime a
backend before it serves. Answers of the same precision are compared candidate by
candidate; only equal scores may change places. Answers of another precision are
compared as detections: a rounding may reorder what nobody will see, but nothing
relevant may be lost, invented or moved. So are, within the tolerances of the same
precision, answers of a network that suppresses its own proposals: where one sits on
a step, a rounding of the last bit decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from spinert.proto import bundle_pb2 as pb
from spinert.proto.flips import classifier_flips, detection_flips, detections_passing
from spinert.proto.pairing import Pairs, exact_pairs, relevant_pairs

__all__ = [
    "BF16",
    "FP16",
    "FP32",
    "TOLERANCES",
    "Agreement",
    "AgreementRule",
    "Answer",
    "Difference",
    "agreement",
    "joined",
    "rule_from_bundle",
]

Answer = Mapping[str, npt.NDArray[Any]]
"""Outputs of one frame by name, without the batch axis; `status` is not compared."""

FP32: Final = "fp32"
FP16: Final = "fp16"
BF16: Final = "bf16"
"""No graph is written in it: a backend computes the FP32 graph so, and is judged by
the tolerances of the FP16 one."""

_RELEVANT_SCORE: Final = 0.05
"""Where a bundle has no score floor: detectron2 and torchvision drop what is below."""

_UNSURE_BELOW: Final = 0.5
"""Where a bundle has no low-confidence cut-off."""

TOLERANCES: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        FP32: MappingProxyType(
            {
                "logits": 5e-4,
                "boxes": 1e-2,
                "scores": 1e-4,
                "labels": 0.0,
                "switched": 5e-3,
            }
        ),
        FP16: MappingProxyType(
            {
                "logits": 0.1,
                "boxes": 2.0,
                "scores": 2e-2,
                "labels": 0.0,
                "switched": 0.1,
            }
        ),
    }
)
"""Largest difference by precision and output: logits, network-input pixels,
probabilities, candidates lost or invented, share of candidates that switched.

fp32: two orders above what two correct implementations differ by, and far below
the effect of a wrong epsilon or a shifted pixel; five of a thousand proposals may
sit on a step (an overlap at the limit of suppression, a region whose size is about
to take one more sample). fp16: half keeps 11 bits, so a
deep network's logits move by about 2e-2 and boxes by tenths of a pixel; a few times
that, and still a fraction of what changes a decision or the look of a box. Forms
state their own multiple of these.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How one output differs, and where most."""

    max_abs: float
    """Infinite where an answer is not a number or has the wrong shape."""
    mean_abs: float
    count: int = 1
    """Elements the mean is over."""
    index: tuple[int, ...] = ()
    """Of the worst element, in the expected output; of scores in fp32, its rank."""
    expected: float = 0.0
    actual: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """The comparison of two answers to one frame."""

    differences: Mapping[str, Difference]
    """By output: `logits`; or `boxes`, `scores` and `labels` (candidates lost or
    invented), and `switched` (a share) where the rule allows it."""
    decision_flips: int
    """Decisions at the threshold; or detections at the low-confidence cut-off, those
    lost or invented above it included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgreementRule:
    """What counts as a difference for one network in one precision."""

    tolerances: Mapping[str, float]
    exact: bool
    """Same precision, and no proposals that may switch: candidate by candidate."""
    relevant_score: float = _RELEVANT_SCORE
    """Candidates below this are not looked at unless `exact`."""
    score_floor: float = 0.0
    """The bundle's own: candidates below this are not looked at even then."""
    switching: bool = False
    """The network suppresses its own proposals: another may stand in for one."""
    bundle: pb.Bundle = field(default_factory=pb.Bundle)
    """Its combination, decision and fusion rules."""


def rule_from_bundle(
    bundle: pb.Bundle,
    role: str,
    precision: str,
    tolerances: Mapping[str, float] | None = None,
) -> AgreementRule:
    """Return the rule by which `precision` answers of a network are judged.

    Args:
        bundle: Its networks, detection rules and thresholds.
        role: Which network.
        precision: Of the graph that answers; the expected answer is always fp32.
        tolerances: Those stored with a form; None: `TOLERANCES`.
    """
    network = bundle.networks[role]
    switching = network.HasField("split")
    return AgreementRule(
        tolerances=TOLERANCES[precision] if tolerances is None else tolerances,
        exact=precision == FP32 and not switching,
        relevant_score=network.detection.score_floor or _RELEVANT_SCORE,
        score_floor=network.detection.score_floor,
        switching=switching,
        bundle=bundle,
    )


def agreement(expected: Answer, actual: Answer, rule: AgreementRule) -> Agreement:
    """Compare two answers to one frame.

    Args:
        expected: The reference, with `logits` [M]; or `boxes` [K, 4], `scores` [K]
            and `labels` [K].
        actual: The same outputs.
        rule: By which to judge.
    """
    names = ("logits",) if "logits" in expected else ("boxes", "scores", "labels")
    if any(expected[name].shape != actual[name].shape for name in names):
        wrong = Difference(max_abs=np.inf, mean_abs=np.inf)
        return Agreement(differences=dict.fromkeys(names, wrong), decision_flips=0)
    if "logits" in expected:
        flips = classifier_flips(expected["logits"], actual["logits"], rule.bundle)
        gap = _difference(expected["logits"], actual["logits"])
        return Agreement(differences={"logits": gap}, decision_flips=flips)
    if rule.exact:
        pairs = exact_pairs(expected, actual, rule.tolerances, rule.score_floor)
        differences = _exact_differences(expected, actual, pairs)
    else:
        unsure = rule.bundle.fusion.low_confidence_cutoff or _UNSURE_BELOW
        pairs = relevant_pairs(
            expected,
            actual,
            rule.tolerances,
            rule.relevant_score,
            unsure if rule.switching else 0.0,
        )
        differences = _relevant_differences(expected, actual, pairs, rule)
    scores = expected["scores"][pairs.expected], actual["scores"][pairs.actual]
    flips = detection_flips(*scores, rule.bundle.fusion)
    flips += detections_passing(expected["scores"][pairs.lost], rule.bundle.fusion)
    flips += detections_passing(actual["scores"][pairs.invented], rule.bundle.fusion)
    return Agreement(differences=differences, decision_flips=flips)


def joined(first: Difference, second: Difference) -> Difference:
    """Return the worst of two differences, and their common mean."""
    worst = first if first.max_abs >= second.max_abs else second
    count = first.count + second.count
    total = first.mean_abs * first.count + second.mean_abs * second.count
    return Difference(
        max_abs=worst.max_abs,
        mean_abs=total / count if count else 0.0,
        count=count,
        index=worst.index,
        expected=worst.expected,
        actual=worst.actual,
    )


def _difference(
    expected: npt.NDArray[Any],
    actual: npt.NDArray[Any],
    rows: npt.NDArray[np.intp] | None = None,
) -> Difference:
    """Compare element by element; `rows` are the places of axis 0 to report."""
    if not expected.size:
        return Difference(max_abs=0.0, mean_abs=0.0, count=0)
    gaps = np.abs(expected.astype(np.float64) - actual)
    gaps = np.where(np.isnan(gaps), np.inf, gaps)
    at = tuple(int(i) for i in np.unravel_index(int(gaps.argmax()), gaps.shape))
    return Difference(
        max_abs=float(gaps[at]),
        mean_abs=float(gaps.mean()),
        count=gaps.size,
        index=at if rows is None else (int(rows[at[0]]), *at[1:]),
        expected=float(expected[at]),
        actual=float(actual[at]),
    )


def _exact_differences(
    expected: Answer, actual: Answer, pairs: Pairs
) -> dict[str, Difference]:
    ranked = np.sort(expected["scores"])[::-1], np.sort(actual["scores"])[::-1]
    return {
        "boxes": _box_difference(expected, actual, pairs),
        "scores": _difference(*ranked),
        "labels": _lost(expected, actual, pairs),
    }


def _relevant_differences(
    expected: Answer, actual: Answer, pairs: Pairs, rule: AgreementRule
) -> dict[str, Difference]:
    chosen = expected["scores"][pairs.expected], actual["scores"][pairs.actual]
    differences = {
        "boxes": _box_difference(expected, actual, pairs),
        "scores": _difference(*chosen, pairs.expected),
        "labels": _lost(expected, actual, pairs),
    }
    if rule.switching:
        relevant = 2 * len(pairs.expected) + pairs.switched
        share = pairs.switched / relevant if relevant else 0.0
        differences["switched"] = Difference(max_abs=share, mean_abs=share)
    return differences


def _box_difference(expected: Answer, actual: Answer, pairs: Pairs) -> Difference:
    boxes = expected["boxes"][pairs.expected], actual["boxes"][pairs.actual]
    return _difference(*boxes, pairs.expected)


def _lost(expected: Answer, actual: Answer, pairs: Pairs) -> Difference:
    """Count what has no partner; the worst is the lost candidate of highest score."""
    count = float(len(pairs.lost) + len(pairs.invented))
    if not len(pairs.lost):
        return Difference(max_abs=count, mean_abs=count)
    index = int(pairs.lost[np.argmax(expected["scores"][pairs.lost])])
    return Difference(
        max_abs=count,
        mean_abs=count,
        index=(index,),
        expected=float(expected["labels"][index]),
        actual=float(actual["labels"][index]),
    )
