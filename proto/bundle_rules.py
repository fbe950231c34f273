"""What a valid bundle must satisfy beyond the schema: pure checks.

Export asks before it builds anything, the runtime before it loads anything, so
that a bundle that was written can be served. Every message starts with the path
of a field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

from spinert.proto import bundle_pb2 as pb
from spinert.proto.bundle_values import (
    bundle_values,
    canvas_values,
    network_values,
    unusable_values,
)

__all__ = ["FORMAT", "RESAMPLER_VERSIONS", "broken_choices", "broken_rules"]

FORMAT: Final = 1

RESAMPLER_VERSIONS: Final[Mapping[int, str]] = MappingProxyType(
    {
        # Horizontal pass first and rounding between the passes, on every Pillow.
        pb.PILLOW_BILINEAR_U8_HORIZONTAL_FIRST: "pillow<=12",
        pb.TORCH_BILINEAR_F32: "torch 2",
    }
)
"""Whose arithmetic a resampler follows: `resampler_version` as format 1 has it."""

_CLASSIFIER: Final = "classifier"
_OUTPUTS: Final = {
    _CLASSIFIER: pb.OUTPUT_LOGITS,
    "detector": pb.OUTPUT_CANDIDATES,
}
"""What each role of format 1 answers with."""


def broken_rules(spec: pb.Bundle) -> list[str]:
    """Return every rule a bundle breaks, worst first; empty when it is valid."""
    return [*broken_choices(spec), *_files(spec), *_golden(spec)]


def broken_choices(spec: pb.Bundle) -> list[str]:
    """Return every rule broken by what is chosen: all but files and golden set."""
    return [
        *_format(spec),
        *unusable_values(spec),
        *_networks(spec),
        *bundle_values(spec),
        *_classes(spec),
        *_combination(spec),
        *_decisions(spec),
        *_constancy(spec),
    ]


def _format(spec: pb.Bundle) -> Iterator[str]:
    if spec.format != FORMAT:
        yield f"format: {spec.format} is not supported, only format {FORMAT} is"
    if not spec.name or not spec.version:
        yield "name: name and version must be set"


# ------------------------------------------------------------------ networks


def _networks(spec: pb.Bundle) -> Iterator[str]:
    for role in sorted(set(spec.networks) - set(_OUTPUTS)):
        yield f"networks.{role}: this runtime runs {' and '.join(_OUTPUTS)}"
    for role in _OUTPUTS:
        if role not in spec.networks:
            yield f"networks.{role}: is missing"
            continue
        for broken in _network(role, spec.networks[role]):
            yield f"networks.{role}.{broken}"
    files = [network.file for network in spec.networks.values()]
    if len(set(files)) != len(files):
        yield "networks: two share one file name"


def _network(role: str, network: pb.Network) -> Iterator[str]:
    if network.output != _OUTPUTS[role]:
        yield f"output: must be {pb.OutputKind.Name(_OUTPUTS[role])}"
    if role == _CLASSIFIER and not network.members:
        yield "members: must name one for each logit"
    if not _is_plain(network.file):
        yield f"file: {network.file!r} must be relative, plain and inside the bundle"
    yield from network_values(network)
    for broken in _input(network.input):
        yield f"input.{broken}"
    for broken in _canvas(network):
        yield f"input.canvas{broken}"


def _input(spec: pb.NetworkInput) -> Iterator[str]:
    if not len(spec.mean) == len(spec.std) == len(spec.fill) >= 1:
        yield "mean: mean, std and fill need one value per channel"
    integer = pb.PILLOW_BILINEAR_U8_HORIZONTAL_FIRST
    if spec.element_type == pb.ELEMENT_UINT8 and spec.resampler != integer:
        yield f"resampler: ELEMENT_UINT8 needs {pb.Resampler.Name(integer)}"
    known = RESAMPLER_VERSIONS.get(spec.resampler)
    if known is not None and spec.resampler_version != known:
        yield (
            f"resampler_version: {spec.resampler_version!r} is not known; "
            f"{pb.Resampler.Name(spec.resampler)} is {known!r} in format {FORMAT}"
        )


def _canvas(network: pb.Network) -> Iterator[str]:
    canvas = network.input.canvas
    kind = canvas.WhichOneof("kind")
    if kind is None:
        yield ": must name one policy: fixed, letterbox, shortest_edge or native"
        return
    policy = getattr(canvas, kind)
    for broken in canvas_values(policy):
        yield f".{kind}.{broken}"
    edge = canvas.shortest_edge
    if edge.max_long_edge < edge.short_edge:
        yield f".{kind}.max_long_edge: must not be below short_edge"
    pads = kind == "letterbox" or getattr(policy, "pad_multiple", 1) != 1
    is_blind = not network.input.takes_image_size
    if pads and is_blind and network.output == pb.OUTPUT_LOGITS:
        yield (
            f".{kind}: pads, and nothing tells this classifier the padding; "
            "give it a fixed canvas or takes_image_size"
        )


# ----------------------------------------------------------------- decisions


def _classes(spec: pb.Bundle) -> Iterator[str]:
    if not spec.classes:
        yield "classes: at least one is needed, one for every label of the detector"


def _combination(spec: pb.Bundle) -> Iterator[str]:
    rule = spec.combination
    if rule.rule != pb.COMBINATION_WEIGHTED or _CLASSIFIER not in spec.networks:
        return
    members = len(spec.networks[_CLASSIFIER].members)
    if len(rule.weights) != members or not abs(sum(rule.weights) - 1) <= 1e-6:
        yield f"combination.weights: give {members} weights, one per member, sum 1"


def _decisions(spec: pb.Bundle) -> Iterator[str]:
    if spec.decision.uncertain_from > spec.decision.uncertain_to:
        yield "decision.uncertain_from: must not exceed uncertain_to"
    if spec.fusion.rule == pb.FUSION_PAPER and not spec.fusion.comparison:
        yield "fusion.comparison: must be set for FUSION_PAPER"


def _constancy(spec: pb.Bundle) -> Iterator[str]:
    cases = spec.constancy.cases
    if len({case.index for case in cases}) != len(cases):
        yield "constancy.cases: two are of the same phantom"
    known = {entry.name for entry in spec.classes}
    found = {finding.class_name for case in cases for finding in case.findings}
    for name in sorted(found - known):
        yield f"constancy.cases: {name!r} is none of the classes"


# --------------------------------------------------------- files, golden set


def _files(spec: pb.Bundle) -> Iterator[str]:
    paths = [entry.path for entry in spec.files]
    for path in paths:
        if not _is_plain(path):
            yield f"files: {path!r} must be relative, plain and inside the bundle"
    if len(set(paths)) != len(paths):
        yield "files: one is listed twice"
    for owner, path in _references(spec):
        if path not in paths:
            yield f"{owner}: {path!r} is not in files"


def _is_plain(path: str) -> bool:
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts and str(pure) == path


def _references(spec: pb.Bundle) -> Iterator[tuple[str, str]]:
    for role, network in spec.networks.items():
        yield f"networks.{role}.file", network.file
        for form in network.forms:
            yield f"networks.{role}.forms", form.file
        if network.HasField("split"):
            yield f"networks.{role}.split.proposals", network.split.proposals
            yield f"networks.{role}.split.regions", network.split.regions
    for frame in spec.golden.frames:
        yield f"golden.frames.{frame.name}.image", frame.image
        for case in frame.networks.values():
            yield f"golden.frames.{frame.name}.networks", case.outputs


def _golden(spec: pb.Bundle) -> Iterator[str]:
    for frame in spec.golden.frames:
        for role in sorted(set(frame.networks) - set(spec.networks)):
            yield f"golden.frames.{frame.name}: there is no network {role!r}"
