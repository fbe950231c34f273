"""detectron2's Faster R-CNN written a second time, with loops, from its description.

Shares nothing with the product but the checkpoint's keys: all anchors are decoded
before any is chosen, suppression is greedy, a region is sampled point by point, and
everything is for one image at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from support.retinanet_oracle import Detection

__all__ = ["Settings", "detections_of_faster_rcnn", "proposals_of", "sampled_region"]

State = Mapping[str, Tensor]
Array = npt.NDArray[np.float32]
_LIMIT = math.log(1000.0 / 16)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of cfg.MODEL, as far as tests change them."""

    stride_in_1x1: bool = True
    sampling: int = 0
    per_level: int = 1000
    proposals: int = 1000


def _frozen(state: State, key: str, x: Tensor, stride: int) -> Tensor:
    weight = state[f"{key}.weight"]
    x = functional.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2)
    spread = torch.sqrt(state[f"{key}.norm.running_var"] + 1e-5)
    gain = (state[f"{key}.norm.weight"] / spread)[:, None, None]
    centred = x - state[f"{key}.norm.running_mean"][:, None, None]
    return centred * gain + state[f"{key}.norm.bias"][:, None, None]


def _conv(state: State, key: str, x: Tensor) -> Tensor:
    weight = state[f"{key}.weight"]
    padding = weight.shape[2] // 2
    return functional.conv2d(x, weight, state[f"{key}.bias"], padding=padding)


def _maps(state: State, x: Tensor, stride_in_1x1: bool) -> list[Tensor]:
    """Return p2..p6 of (1,3,H,W)."""
    body = "backbone.bottom_up"
    x = torch.relu(_frozen(state, f"{body}.stem.conv1", x, 2))
    x = functional.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    stages = []
    for stage in (2, 3, 4, 5):
        block = 0
        while f"{body}.res{stage}.{block}.conv1.weight" in state:
            key = f"{body}.res{stage}.{block}"
            halved = 2 if stage > 2 and block == 0 else 1
            first, second = (halved, 1) if stride_in_1x1 else (1, halved)
            out = torch.relu(_frozen(state, f"{key}.conv1", x, first))
            out = torch.relu(_frozen(state, f"{key}.conv2", out, second))
            out = _frozen(state, f"{key}.conv3", out, 1)
            if block == 0:
                x = _frozen(state, f"{key}.shortcut", x, halved)
            x = torch.relu(out + x)
            block += 1
        stages.append(x)
    above = _conv(state, "backbone.fpn_lateral5", stages[3])
    maps = [_conv(state, "backbone.fpn_output5", above)]
    for stage in (4, 3, 2):
        doubled = above.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        above = _conv(state, f"backbone.fpn_lateral{stage}", stages[stage - 2])
        above = above + doubled
        maps.insert(0, _conv(state, f"backbone.fpn_output{stage}", above))
    return [*maps, maps[-1][:, :, ::2, ::2]]


def _anchors(height: int, width: int, size: int, stride: int) -> Array:
    cells = []
    for ratio in (0.5, 1.0, 2.0):
        w = math.sqrt(size**2 / ratio)
        h = w * ratio
        cells.append((-w / 2, -h / 2, w / 2, h / 2))
    rows = []
    for y in range(height):
        for x in range(width):
            shift = (x * stride, y * stride, x * stride, y * stride)
            rows.extend(np.float32(shift) + np.float32(cells))
    return np.stack(rows)


def _decoded(boxes: Array, deltas: Array, weights: tuple[float, ...]) -> Array:
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    x, y = boxes[:, 0] + np.float32(0.5) * w, boxes[:, 1] + np.float32(0.5) * h
    dx, dy, dw, dh = (deltas / np.float32(weights)).T
    x, y = dx * w + x, dy * h + y
    w = np.exp(np.minimum(dw, np.float32(_LIMIT))) * w
    h = np.exp(np.minimum(dh, np.float32(_LIMIT))) * h
    half = np.float32(0.5)
    corners = (x - half * w, y - half * h, x + half * w, y + half * h)
    return np.stack(corners, axis=1)


def _clipped(boxes: Array, valid: tuple[int, int]) -> Array:
    height, width = valid
    return np.clip(boxes, np.float32(0), np.float32((width, height, width, height)))


def _greedy(boxes: Array, threshold: float) -> list[int]:
    """Return the kept indices of boxes that are sorted by score."""
    kept: list[int] = []
    for index, box in enumerate(boxes):
        for better in kept:
            other = boxes[better]
            w = min(box[2], other[2]) - max(box[0], other[0])
            h = min(box[3], other[3]) - max(box[1], other[1])
            if w <= 0 or h <= 0:
                continue
            areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
            if w * h / (areas[0] + areas[1] - w * h) > threshold:
                break
        else:
            kept.append(index)
    return kept


def proposals_of(
    state: State, maps: list[Tensor], valid: tuple[int, int], settings: Settings
) -> Array:
    """Return find_top_rpn_proposals of p2..p6: (R,4), best first."""
    found, ranks = [], []
    for place, level in enumerate(maps):
        head = "proposal_generator.rpn_head"
        hidden = torch.relu(_conv(state, f"{head}.conv", level))
        logits = _conv(state, f"{head}.objectness_logits", hidden)[0]
        deltas = _conv(state, f"{head}.anchor_deltas", hidden)[0]
        height, width = level.shape[2:]
        anchors = _anchors(height, width, 32 * 2**place, 4 * 2**place)
        scores = logits.permute(1, 2, 0).reshape(-1).numpy()
        per_anchor = deltas.reshape(3, 4, height, width).permute(2, 3, 0, 1)
        moved = per_anchor.reshape(-1, 4).numpy()
        boxes = _clipped(_decoded(anchors, moved, (1, 1, 1, 1)), valid)
        best = np.argsort(-scores, kind="stable")[: settings.per_level]
        boxes, scores = boxes[best], scores[best]
        filled = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        boxes, scores = boxes[filled], scores[filled]
        kept = _greedy(boxes, 0.7)
        found.append(boxes[kept])
        ranks.append(scores[kept])
    order = np.argsort(-np.concatenate(ranks), kind="stable")
    return np.concatenate(found)[order[: settings.proposals]]


def _interpolated(level: Array, y: float, x: float) -> Array:
    """Return the values (C,) of (C,H,W) at a point, 0 off the map."""
    height, width = level.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(len(level), np.float32)
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = np.float32(y - top), np.float32(x - left)
    upper = level[:, top, left] * (1 - across) + level[:, top, right] * across
    lower = level[:, bottom, left] * (1 - across) + level[:, bottom, right] * across
    return upper * (1 - down) + lower * down


def sampled_region(level: Array, box: Array, scale: float, sampling: int) -> Array:
    """Return ROIAlignV2 (C,7,7) of one box (4,) on one map (C,H,W)."""
    x, y, right, bottom = (float(edge) * scale - 0.5 for edge in box)
    step_x, step_y = (right - x) / 7, (bottom - y) / 7
    across = sampling or math.ceil(step_x)
    down = sampling or math.ceil(step_y)
    region = np.zeros((len(level), 7, 7), np.float32)
    for row in range(7):
        for column in range(7):
            for i in range(down):
                for j in range(across):
                    at_y = y + step_y * (row + (i + 0.5) / down)
                    at_x = x + step_x * (column + (j + 0.5) / across)
                    region[:, row, column] += _interpolated(level, at_y, at_x)
    return region / max(1, down * across)


def _level_of(box: Array) -> int:
    edge = math.sqrt(float(box[2] - box[0]) * float(box[3] - box[1]))
    return min(5, max(2, math.floor(4 + math.log2(edge / 224 + 1e-8))))


@torch.no_grad()
def detections_of_faster_rcnn(
    state: State,
    x: Tensor,
    *,
    valid: tuple[int, int],
    original: tuple[int, int],
    settings: Settings,
) -> list[Detection]:
    """Return what is left after thresholds and suppression, best first."""
    maps = _maps(state, x, settings.stride_in_1x1)
    boxes = proposals_of(state, maps, valid, settings)
    regions = []
    for box in boxes:
        level = _level_of(box)
        values = maps[level - 2][0].numpy()
        regions.append(sampled_region(values, box, 0.5**level, settings.sampling))
    hidden = torch.from_numpy(np.stack(regions)).flatten(1)
    for name in ("box_head.fc1", "box_head.fc2"):
        hidden = torch.relu(_linear(state, name, hidden))
    logits = _linear(state, "box_predictor.cls_score", hidden)
    scores = torch.softmax(logits, dim=1).numpy()
    deltas = _linear(state, "box_predictor.bbox_pred", hidden).numpy()
    found = []
    for label in range(scores.shape[1] - 1):  # the last is the background
        moved = _decoded(boxes, deltas[:, 4 * label : 4 * label + 4], (10, 10, 5, 5))
        moved = _clipped(moved, valid)
        order = np.argsort(-scores[:, label], kind="stable")
        order = order[scores[order, label] > 0.05]
        kept = order[_greedy(moved[order], 0.5)]
        found += [(scores[index, label], label, moved[index]) for index in kept]
    found = sorted(found, key=lambda one: -one[0])[:100]
    factors = (original[1] / valid[1], original[0] / valid[0]) * 2
    edges = np.float32((original[1], original[0]) * 2)
    answers = []
    for score, label, box in found:
        scaled = np.clip(box * np.float32(factors), np.float32(0), edges)
        if scaled[2] > scaled[0] and scaled[3] > scaled[1]:
            corners = tuple(scaled.tolist())
            answers.append(Detection(box=corners, score=float(score), label=label))
    return answers


def _linear(state: State, name: str, x: Tensor) -> Tensor:
    key = f"roi_heads.{name}"
    return functional.linear(x, state[f"{key}.weight"], state[f"{key}.bias"])
