"""What an approximation changed, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format

from spinert.proto import bundle_pb2 as pb

__all__ = [
    "figures_from_deviation",
    "lines_from_deviations",
    "text_from_deviation",
    "values_from_deviations",
]


def text_from_deviation(found: pb.Deviation) -> str:
    """Return one line: the option, its value, the layout's, and what changed."""
    values = f"{found.option} = {found.used_value} instead of {found.default_value}"
    return f"{values}: {figures_from_deviation(found)}"


def figures_from_deviation(found: pb.Deviation) -> str:
    """Return what changed of the findings in the golden frames."""
    parts = []
    if found.findings > found.lost:
        parts.append(
            f"boxes {found.boxes_max_px:.2g} px (mean {found.boxes_mean_px:.2g})"
        )
        parts.append(f"scores {found.scores_max:.2g} (mean {found.scores_mean:.2g})")
    parts.append(f"{found.lost} of {_counted(found.findings, 'finding')} lost")
    parts.append(f"{found.invented} invented")
    parts.append(_counted(found.decision_flips, "decision flip"))
    return ", ".join(parts)


def lines_from_deviations(spec: pb.Bundle) -> Iterator[str]:
    """Yield one line for every deviation of a bundle."""
    for role, network in sorted(spec.networks.items()):
        for found in network.deviations:
            told = text_from_deviation(found)
            yield f"{role}: {told}, in {len(spec.golden.frames)} golden frames"


def values_from_deviations(spec: pb.Bundle) -> Iterator[dict[str, Any]]:
    """Yield every deviation of a bundle as JSON has it, beside its network."""
    for role, network in sorted(spec.networks.items()):
        for found in network.deviations:
            fields = json_format.MessageToDict(
                found,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            yield {"network": role, **fields}


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
