"""Candidates of a detector to findings in the original image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spinert.proto import bundle_pb2 as pb
from spinert.runtime import _native
from spinert.runtime.image import Spacing
from spinert.runtime.verdict import Box, Finding

__all__ = ["Candidates", "Geometry", "findings_from_candidates"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """What a detector proposes for one frame, in network-input pixels."""

    boxes: npt.NDArray[np.float32]
    """[K, 4] as x_min, y_min, x_max, y_max; may leave the image."""
    scores: npt.NDArray[np.float32]
    """[K] in [0, 1], in any order."""
    labels: npt.NDArray[np.int64]
    """[K], indices into the bundle's classes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """How network-input pixels map to the original image."""

    rows: int
    columns: int
    valid_height: int
    """Of the resized image inside the padded network input."""
    valid_width: int
    spacing: Spacing | None = None


def findings_from_candidates(
    candidates: Candidates, rule: pb.DetectionRule, geometry: Geometry
) -> tuple[Finding, ...]:
    """Return the findings of one frame, best score first.

    The order of steps is that of the official code (SparseR-CNN `inference`, then
    detectron2 `detector_postprocess`): NMS in network pixels, then scaling by
    original / valid on each axis in float32, clipping to the image, and dropping
    what is empty. The score floor comes before NMS; min_box_edge_px is last.
    """
    order = np.argsort(-candidates.scores, kind="stable")
    order = order[_passing(candidates.scores[order], rule)]
    if rule.nms_iou > 0:
        order = order[_survivors(candidates, order, rule)]
    if rule.max_detections:
        order = order[: rule.max_detections]
    boxes = _original_boxes(candidates.boxes[order], geometry)
    keep = _large_enough(boxes, rule.min_box_edge_px)
    return tuple(
        _finding(box, score, label, geometry.spacing)
        for box, score, label in zip(
            boxes[keep].tolist(),
            candidates.scores[order][keep].tolist(),
            candidates.labels[order][keep].tolist(),
            strict=True,
        )
    )


def _passing(
    scores: npt.NDArray[np.float32], rule: pb.DetectionRule
) -> npt.NDArray[np.bool_]:
    floor = np.float32(rule.score_floor)
    if rule.score_comparison == pb.GREATER:
        return scores > floor
    return scores >= floor


def _survivors(
    candidates: Candidates, order: npt.NDArray[np.intp], rule: pb.DetectionRule
) -> npt.NDArray[np.bool_]:
    return _native.nms(
        np.ascontiguousarray(candidates.boxes[order]),
        np.ascontiguousarray(candidates.labels[order]),
        iou=rule.nms_iou,
        class_wise=rule.nms_class_wise,
    )


def _original_boxes(
    boxes: npt.NDArray[np.float32], geometry: Geometry
) -> npt.NDArray[np.float32]:
    x_scale = np.float32(geometry.columns / geometry.valid_width)
    y_scale = np.float32(geometry.rows / geometry.valid_height)
    scaled = boxes * np.array([x_scale, y_scale, x_scale, y_scale], np.float32)
    edges = (geometry.columns, geometry.rows, geometry.columns, geometry.rows)
    clipped: npt.NDArray[np.float32] = np.clip(
        scaled, np.float32(0), np.array(edges, np.float32)
    )
    return clipped


def _large_enough(
    boxes: npt.NDArray[np.float32], min_edge_px: float
) -> npt.NDArray[np.bool_]:
    shorter = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    large: npt.NDArray[np.bool_] = (shorter > 0) & (shorter >= min_edge_px)
    return large


def _finding(
    box: list[float], score: float, label: int, spacing: Spacing | None
) -> Finding:
    x_min, y_min, x_max, y_max = box
    box_mm = None
    if spacing is not None:
        box_mm = Box(
            x_min=x_min * spacing.column_mm,
            y_min=y_min * spacing.row_mm,
            x_max=x_max * spacing.column_mm,
            y_max=y_max * spacing.row_mm,
        )
    return Finding(
        class_index=label,
        score=score,
        box=Box(x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max),
        box_mm=box_mm,
    )
