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
    rows_per_pixel: float
    """Original rows per network pixel, as the canvas that was used defines it."""
    columns_per_pixel: float
    spacing: Spacing | None = None


def findings_from_candidates(
    candidates: Candidates, rule: pb.DetectionRule, geometry: Geometry
) -> tuple[Finding, ...]:
    """Return the findings of one frame, best score first.

    The order of steps is that of the official code (SparseR-CNN `inference`, then
    detectron2 `detector_postprocess`): NMS in network pixels, then scaling each axis
    in float32, clipping to the image, and dropping what is empty. The score floor
    comes before NMS; min_box_edge_px is last. With `clip_before_nms` boxes are cut at
    the image's edges in network pixels first, as effdet's `generate_detections` does.
    """
    order = np.argsort(-candidates.scores, kind="stable")
    order = order[_passing(candidates.scores[order], rule)]
    proposed = candidates.boxes
    if rule.clip_before_nms:
        proposed = _clipped(proposed, geometry, _factors(geometry))
    if rule.nms_iou > 0:
        labels = candidates.labels[order]
        order = order[_survivors(proposed[order], labels, rule)]
    if rule.max_detections:
        order = order[: rule.max_detections]
    boxes = _original_boxes(proposed[order], geometry)
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
    boxes: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    rule: pb.DetectionRule,
) -> npt.NDArray[np.bool_]:
    return _native.nms(
        np.ascontiguousarray(boxes),
        np.ascontiguousarray(labels),
        iou=rule.nms_iou,
        class_wise=rule.nms_class_wise,
    )


def _original_boxes(
    boxes: npt.NDArray[np.float32], geometry: Geometry
) -> npt.NDArray[np.float32]:
    return _clipped(boxes * _factors(geometry), geometry, np.ones(4, np.float32))


def _factors(geometry: Geometry) -> npt.NDArray[np.float32]:
    """Return original pixels per network pixel for x, y, x, y."""
    x, y = geometry.columns_per_pixel, geometry.rows_per_pixel
    return np.array((x, y, x, y), np.float32)


def _clipped(
    boxes: npt.NDArray[np.float32],
    geometry: Geometry,
    factors: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Cut boxes at the image's edges; `factors`: original pixels per box pixel."""
    columns, rows = geometry.columns, geometry.rows
    edges = np.array((columns, rows, columns, rows), np.float32) / factors
    clipped: npt.NDArray[np.float32] = np.clip(boxes, np.float32(0), edges)
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
