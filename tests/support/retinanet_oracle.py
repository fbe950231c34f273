"""detectron2's RetinaNet written a second time, with loops, from its description.

Shares nothing with the product but the checkpoint's keys: anchors as a full table,
threshold before selection, greedy NMS, everything for one image at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Detection", "detections_of_detectron2"]

State = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One answer in pixels of the original image."""

    box: tuple[float, ...]
    score: float
    label: int


def _frozen(state: State, key: str, x: Tensor, stride: int) -> Tensor:
    weight = state[f"{key}.weight"]
    x = functional.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2)
    gain = state[f"{key}.norm.weight"] * (state[f"{key}.norm.running_var"] + 1e-5).pow(
        -0.5
    )
    shift = state[f"{key}.norm.bias"] - state[f"{key}.norm.running_mean"] * gain
    return x * gain[:, None, None] + shift[:, None, None]


def _conv(state: State, key: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{key}.weight"]
    return functional.conv2d(
        x, weight, state[f"{key}.bias"], stride=stride, padding=weight.shape[2] // 2
    )


def _maps(state: State, x: Tensor, stride_in_1x1: bool) -> list[Tensor]:
    """Return p3..p7 of (1,3,H,W)."""
    body = "backbone.bottom_up"
    x = torch.relu(_frozen(state, f"{body}.stem.conv1", x, 2))
    x = functional.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    stages = {}
    for stage in (2, 3, 4, 5):
        block = 0
        while f"{body}.res{stage}.{block}.conv1.weight" in state:
            key = f"{body}.res{stage}.{block}"
            halves = 2 if stage > 2 and block == 0 else 1
            first, second = (halves, 1) if stride_in_1x1 else (1, halves)
            out = torch.relu(_frozen(state, f"{key}.conv1", x, first))
            out = torch.relu(_frozen(state, f"{key}.conv2", out, second))
            out = _frozen(state, f"{key}.conv3", out, 1)
            if f"{key}.shortcut.weight" in state:
                x = _frozen(state, f"{key}.shortcut", x, halves)
            x = torch.relu(out + x)
            block += 1
        stages[stage] = x
    merged = _conv(state, "backbone.fpn_lateral5", stages[5])
    maps = [_conv(state, "backbone.fpn_output5", merged)]
    for stage in (4, 3):
        up = functional.interpolate(merged, scale_factor=2.0, mode="nearest")
        merged = _conv(state, f"backbone.fpn_lateral{stage}", stages[stage]) + up
        maps.insert(0, _conv(state, f"backbone.fpn_output{stage}", merged))
    p6 = _conv(state, "backbone.top_block.p6", stages[5], 2)
    return [*maps, p6, _conv(state, "backbone.top_block.p7", torch.relu(p6), 2)]


def _tower(state: State, key: str, x: Tensor) -> Tensor:
    for place in (0, 2, 4, 6):
        x = torch.relu(_conv(state, f"head.{key}.{place}", x))
    return x


def _anchors(base: int, stride: int, rows: int, columns: int) -> np.ndarray:
    """Return every anchor of a level as (rows, columns, 9, 4), xyxy."""
    table = np.zeros((rows, columns, 9, 4))
    for octave in range(3):
        edge = base * 2 ** (octave / 3)
        for place, ratio in enumerate((0.5, 1.0, 2.0)):
            width = (edge * edge / ratio) ** 0.5
            height = width * ratio
            cell = np.array([-width, -height, width, height]) / 2
            for row in range(rows):
                for column in range(columns):
                    at = np.array([column, row, column, row]) * stride
                    table[row, column, 3 * octave + place] = at + cell
    return table


def _moved(anchor: np.ndarray, delta: np.ndarray) -> np.ndarray:
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    x = anchor[0] + width / 2 + delta[0] * width
    y = anchor[1] + height / 2 + delta[1] * height
    limit = np.log(1000 / 16)
    width *= np.exp(min(delta[2], limit))
    height *= np.exp(min(delta[3], limit))
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


def _candidates(
    state: State, maps: list[Tensor], classes: int
) -> list[tuple[float, int, np.ndarray]]:
    """Return (score, label, box) of what each level passes on."""
    found = []
    for index, level in enumerate(maps):
        logits = _conv(state, "head.cls_score", _tower(state, "cls_subnet", level))[0]
        deltas = _conv(state, "head.bbox_pred", _tower(state, "bbox_subnet", level))[0]
        _, rows, columns = logits.shape
        scores = torch.sigmoid(logits).view(9, classes, rows, columns).numpy()
        moves = deltas.view(9, 4, rows, columns).numpy().astype(np.float64)
        anchors = _anchors(32 << index, 8 << index, rows, columns)
        passing = np.argwhere(scores > np.float32(0.05)).tolist()
        passing.sort(key=lambda at: -scores[tuple(at)])
        for cell, label, row, column in passing[:1000]:
            box = _moved(anchors[row, column, cell], moves[cell, :, row, column])
            score = float(scores[cell, label, row, column])
            found.append((score, label, box))
    return sorted(found, key=lambda entry: -entry[0])


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    corner, end = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    both = float(np.prod(np.maximum(end - corner, 0)))
    areas = np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])
    return both / (float(areas) - both)


def detections_of_detectron2(
    state: State,
    x: Tensor,
    *,
    valid: tuple[int, int],
    original: tuple[int, int],
    classes: int,
    stride_in_1x1: bool,
) -> list[Detection]:
    """Return what RetinaNet.inference and detector_postprocess return.

    Args:
        state: Under detectron2's keys.
        x: Normalised and padded, (1,3,H,W).
        valid: (height, width) of the resized image.
        original: (rows, columns) of the image.
        classes: Foreground classes.
        stride_in_1x1: MODEL.RESNETS.STRIDE_IN_1X1.
    """
    maps = _maps(state, x, stride_in_1x1)
    kept: list[tuple[float, int, np.ndarray]] = []
    for score, label, box in _candidates(state, maps, classes):
        rivals = [other for _, same, other in kept if same == label]
        if all(_iou(box, other) <= 0.5 for other in rivals):
            kept.append((score, label, box))
    ratio = np.array(original[::-1] * 2) / np.array(valid[::-1] * 2)
    answers = []
    for score, label, box in kept[:100]:
        scaled = np.clip(box * ratio, 0, np.array(original[::-1] * 2))
        if scaled[2] > scaled[0] and scaled[3] > scaled[1]:
            answers.append(Detection(box=tuple(scaled), score=score, label=label))
    return answers
