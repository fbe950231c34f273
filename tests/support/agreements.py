"""How far two sets of candidates are apart, by the rule for fp32 graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import FP32, agreement, rule_from_bundle


def candidate_gaps(
    expected: Mapping[str, Any], actual: Mapping[str, Any]
) -> dict[str, float]:
    """Return the largest differences of boxes and scores, and the count of lost."""
    bundle = pb.Bundle()
    bundle.networks["detector"].output = pb.OUTPUT_CANDIDATES
    rule = rule_from_bundle(bundle, "detector", FP32)
    found = agreement(expected, actual, rule).differences
    return {name: difference.max_abs for name, difference in found.items()}
