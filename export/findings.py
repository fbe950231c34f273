"""Candidates to findings, written for clearness, not for speed.

The twin of the runtime's implementation, by which an export tells what a deviation
would change of the answers that people see.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spinert.export.preprocess import NetworkFrame
from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import Answer

__all__ = ["findings_from_answer"]

_Array = npt.NDArray[Any]


def findings_from_answer(
    answer: Answer, network: pb.Network, frame: NetworkFrame, shape: tuple[int, int]
) -> Answer:
    """Return the candidates of one frame that become findings, best score first.

    Score floor, suppression and the number of detections, then what is left of a box
    within the image; the order of steps is the runtime's.

    Args:
        answer: boxes (K,4), scores (K,) and labels (K,).
        network: Its canvas and detection rule.
        frame: What was asked.
        shape: Rows and columns of the original image.

    Returns:
        The same outputs; boxes in pixels of the network's input, within the image.
    """
    rule = network.detection
    scale = _scale(network.input.canvas, frame, shape)
    clipped = _clipped(answer["boxes"], scale, shape)
    proposed = clipped if rule.clip_before_nms else answer["boxes"]
    order = np.argsort(-answer["scores"], kind="stable")
    order = order[_passing(answer["scores"][order], rule)]
    if rule.nms_iou > 0:
        order = order[_survivors(proposed[order], answer["labels"][order], rule)]
    if rule.max_detections:
        order = order[: rule.max_detections]
    edges = (clipped[order, 2:] - clipped[order, :2]) * scale
    shorter = edges.min(axis=1, initial=np.inf)
    order = order[(shorter > 0) & (shorter >= rule.min_box_edge_px)]
    return {
        "boxes": clipped[order],
        "scores": answer["scores"][order],
        "labels": answer["labels"][order],
    }


def _scale(
    canvas: pb.CanvasPolicy, frame: NetworkFrame, shape: tuple[int, int]
) -> _Array:
    """Return original pixels per network pixel for x and y, float32 (2,)."""
    rows, columns = shape
    if canvas.HasField("letterbox"):
        # Not the ratio of sizes: whole pixels were truncated.
        box = canvas.letterbox
        ratio = min(box.height / rows, box.width / columns)
        return np.full(2, 1 / ratio, np.float32)
    return np.array((columns / frame.width, rows / frame.height), np.float32)


def _clipped(boxes: _Array, scale: _Array, shape: tuple[int, int]) -> _Array:
    """Cut boxes (K,4) at the image's edges, in pixels of the network's input."""
    corner = np.array(shape[::-1], np.float32) / scale
    return np.clip(boxes, np.float32(0), np.tile(corner, 2))


def _passing(scores: _Array, rule: pb.DetectionRule) -> _Array:
    floor = np.float32(rule.score_floor)
    is_greater = rule.score_comparison == pb.GREATER
    return np.asarray(scores > floor if is_greater else scores >= floor)


def _survivors(boxes: _Array, labels: _Array, rule: pb.DetectionRule) -> list[int]:
    """Suppress greedily; boxes (K,4) come best score first."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept: list[int] = []
    for index, box in enumerate(boxes):
        low = np.maximum(boxes[kept, :2], box[:2])
        high = np.minimum(boxes[kept, 2:], box[2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        with np.errstate(invalid="ignore"):
            ious = shared / (areas[kept] + areas[index] - shared)
        rivals = ious > rule.nms_iou
        if rule.nms_class_wise:
            rivals &= labels[kept] == labels[index]
        if not rivals.any():
            kept.append(index)
    return kept
