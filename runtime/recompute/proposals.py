"""The suppression between the two graphs of a split network, on the host."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spinert.proto import bundle_pb2 as pb
from spinert.runtime import _native

__all__ = ["proposals_from_ranked"]


def proposals_from_ranked(
    boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], split: pb.Split
) -> npt.NDArray[np.float32]:
    """Return what the regions of one frame are pooled from.

    Greedy suppression on each level, then the best of all levels, as detectron2
    (`find_top_rpn_proposals`) and torchvision (`filter_proposals`) do. Of equal
    scores the finer level comes first.

    Args:
        boxes: [L, n, 4] per pyramid level, clipped; without width: no box.
        scores: [L, n], best first on each level but for places without a box.
        split: Overlap above which a box goes, and how many may stay.

    Returns:
        [max_proposals, 4], best first, then zeros.
    """
    kept = [
        _survivors(of_level, scores_of_level, split.nms_iou)
        for of_level, scores_of_level in zip(boxes, scores, strict=True)
    ]
    survivors = np.concatenate([found for found, _ in kept])
    order = np.argsort(-np.concatenate([ranks for _, ranks in kept]), kind="stable")
    best = survivors[order[: split.max_proposals]]
    filled = np.zeros((split.max_proposals, 4), np.float32)
    filled[: len(best)] = best
    return filled


def _survivors(
    boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], iou: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    real = boxes[:, 2] > boxes[:, 0]
    boxes, scores = np.ascontiguousarray(boxes[real]), scores[real]
    labels = np.zeros(len(boxes), np.int64)
    keep = _native.nms(boxes, labels, iou=iou, class_wise=False)
    return boxes[keep], scores[keep]
