"""What an approximation that a recipe asks for changes of the findings.

Parity compares a graph with the same network in PyTorch, approximation included. Here
the weights answer the golden frames once more as the checkpoint's layout has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from spinert.export.checkpoints.style import Option
from spinert.export.findings import findings_from_answer
from spinert.export.graphs import Graph, NetworkGraph
from spinert.export.members import OpenedMember
from spinert.export.networks.detector import DetectorGraph
from spinert.export.preprocess import NetworkFrame
from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import Answer
from spinert.proto.flips import detection_flips, detections_passing
from spinert.proto.pairing import object_pairs

__all__ = ["Asked", "deviations"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One golden frame and what a detector with its approximations answers."""

    frame: NetworkFrame
    shape: tuple[int, int]
    """Rows and columns of the original image."""
    answer: Answer


def deviations(
    graph: NetworkGraph,
    opened: OpenedMember,
    asked: Sequence[Asked],
    bundle: pb.Bundle,
) -> Iterator[pb.Deviation]:
    """Yield what each approximating option of a detector changes, one at a time.

    Args:
        graph: The detector as it is exported.
        opened: Its member; what its file holds does not count.
        asked: The golden frames.
        bundle: Post-processing and thresholds.
    """
    for option, default in opened.approximated.items():
        options = {**opened.options, option: default}
        original = _rebuilt(graph, opened, options, len(bundle.classes))
        found = _compared(original, asked, bundle.networks[opened.role], bundle.fusion)
        found.option = option
        found.default_value = str(default).lower()
        found.used_value = str(opened.options[option]).lower()
        yield found


def _rebuilt(
    graph: NetworkGraph,
    opened: OpenedMember,
    options: Mapping[str, Option],
    classes: int,
) -> Graph:
    """Return a detector with the same weights, not a copy of them, other options."""
    if not isinstance(graph, Graph) or not isinstance(graph.module, DetectorGraph):
        raise TypeError("only detectors with options of their own have approximations")
    with torch.device("meta"):
        network = opened.architecture.build(options, classes)
    (member,) = graph.members
    network.load_state_dict(member.network.state_dict(), assign=True)
    module = DetectorGraph(graph.module.grey, network, graph.module.keep)
    return replace(graph, module=module.eval())


def _compared(
    original: Graph,
    asked: Sequence[Asked],
    network: pb.Network,
    fusion: pb.Fusion,
) -> pb.Deviation:
    """Answer every frame and count; a pair is the same finding in both."""
    told = pb.Deviation()
    box_gaps: list[npt.NDArray[Any]] = []
    score_gaps: list[npt.NDArray[Any]] = []
    for each in asked:
        expected, actual = (
            findings_from_answer(answer, network, each.frame, each.shape)
            for answer in (original.answer(each.frame), each.answer)
        )
        pairs = object_pairs(expected, actual)
        told.findings += len(expected["scores"])
        told.lost += len(pairs.lost)
        told.invented += len(pairs.invented)
        scores = expected["scores"][pairs.expected], actual["scores"][pairs.actual]
        told.decision_flips += detection_flips(*scores, fusion)
        for alone in (expected["scores"][pairs.lost], actual["scores"][pairs.invented]):
            told.decision_flips += detections_passing(alone, fusion)
        boxes = expected["boxes"][pairs.expected], actual["boxes"][pairs.actual]
        box_gaps.append(np.abs(boxes[0] - boxes[1]).ravel())
        score_gaps.append(np.abs(scores[0] - scores[1]))
    told.boxes_max_px, told.boxes_mean_px = _largest_and_mean(box_gaps)
    told.scores_max, told.scores_mean = _largest_and_mean(score_gaps)
    return told


def _largest_and_mean(parts: Sequence[npt.NDArray[Any]]) -> tuple[float, float]:
    gaps = np.concatenate(parts)
    return (float(gaps.max()), float(gaps.mean())) if gaps.size else (0.0, 0.0)
