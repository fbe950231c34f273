"""What a valid bundle must satisfy beyond the schema: pure checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from spinert.proto import bundle_pb2 as pb

__all__ = ["broken_rules"]


def broken_rules(spec: pb.Bundle) -> list[str]:
    """Return every rule `spec` breaks, worst first; empty when it is valid."""
    return [*_format(spec), *_files(spec), *_networks(spec), *_decisions(spec)]


def _format(spec: pb.Bundle) -> Iterator[str]:
    if spec.format != 1:
        yield f"format {spec.format} is not supported, this runtime reads format 1"
    if not spec.name or not spec.version:
        yield "name and version must be set"
    if not spec.grey.voi or not spec.grey.constant_image:
        yield "grey.voi and grey.constant_image must be set"


def _files(spec: pb.Bundle) -> Iterator[str]:
    paths = [entry.path for entry in spec.files]
    for path in paths:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or str(pure) != path:
            yield f"file path {path!r} must be relative, plain and inside the bundle"
    if len(set(paths)) != len(paths):
        yield "a file is listed twice"
    for owner, path in _references(spec):
        if path not in paths:
            yield f"{owner} names {path!r}, which is not in files"


def _references(spec: pb.Bundle) -> Iterator[tuple[str, str]]:
    for role, network in spec.networks.items():
        yield f"networks.{role}.file", network.file
    for frame in spec.golden.frames:
        yield f"golden frame {frame.name}", frame.image
        for case in frame.networks.values():
            yield f"golden frame {frame.name}", case.outputs


def _networks(spec: pb.Bundle) -> Iterator[str]:
    for role, network in spec.networks.items():
        yield from _input(role, network.input)
    yield from _classifier(spec)
    yield from _detector(spec)


def _input(role: str, spec: pb.NetworkInput) -> Iterator[str]:
    if not spec.element_type or not spec.resampler or not spec.resampler_version:
        yield f"networks.{role}.input needs element_type, resampler and its version"
    if spec.canvas.WhichOneof("kind") is None:
        yield f"networks.{role}.input.canvas must name one policy"
    if not len(spec.mean) == len(spec.std) == len(spec.fill) >= 1:
        yield f"networks.{role}.input: mean, std and fill need one value per channel"
    if any(value <= 0 for value in spec.std):
        yield f"networks.{role}.input.std must be positive"


def _classifier(spec: pb.Bundle) -> Iterator[str]:
    if "classifier" not in spec.networks:
        yield "network 'classifier' is missing"
        return
    network = spec.networks["classifier"]
    if network.output != pb.OUTPUT_LOGITS or not network.members:
        yield "networks.classifier must output OUTPUT_LOGITS and name its members"
    yield from _combination(spec.combination, len(network.members))


def _detector(spec: pb.Bundle) -> Iterator[str]:
    if "detector" not in spec.networks:
        yield "network 'detector' is missing"
        return
    network = spec.networks["detector"]
    if network.output != pb.OUTPUT_CANDIDATES or not network.detection.candidates:
        yield "networks.detector must output OUTPUT_CANDIDATES and state how many"
    if not spec.classes:
        yield "classes must name every label of the detector"


def _combination(rule: pb.Combination, members: int) -> Iterator[str]:
    if not rule.rule:
        yield "combination.rule must be set"
    if rule.rule == pb.COMBINATION_WEIGHTED and len(rule.weights) != members:
        yield f"combination.weights needs one weight for each of {members} members"
    if rule.rule == pb.COMBINATION_WEIGHTED and abs(sum(rule.weights) - 1) > 1e-6:
        yield "combination.weights must add up to 1"
    if rule.rule == pb.COMBINATION_LOGIT_MEAN and not 0 <= rule.probability_clip < 0.5:
        yield "combination.probability_clip must lie in [0, 0.5)"


def _decisions(spec: pb.Bundle) -> Iterator[str]:
    if not spec.decision.comparison or not 0 <= spec.decision.threshold <= 1:
        yield "decision needs a comparison and a threshold in [0, 1]"
    if spec.decision.uncertain_from > spec.decision.uncertain_to:
        yield "decision.uncertain_from must not exceed uncertain_to"
    if not spec.fusion.rule:
        yield "fusion.rule must be set"
    if spec.fusion.rule == pb.FUSION_PAPER and not spec.fusion.comparison:
        yield "fusion.comparison must be set for FUSION_PAPER"
