"""Sparse R-CNN written a second time, straight from its description, with loops.

Shares nothing with the product but the checkpoint's keys: batch norm by its formula,
attention from torch.nn, pooling by ONNX Runtime's RoiAlign on one level per box.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper
from torch import Tensor, nn
from torch.nn import functional

State = Mapping[str, Tensor]


@cache
def _roi_align_session(
    size: int, sampling: int, aligned: bool, scale: float
) -> onnxruntime.InferenceSession:
    mode = "half_pixel" if aligned else "output_half_pixel"
    node = helper.make_node(
        "RoiAlign",
        ["x", "rois", "frames"],
        ["y"],
        coordinate_transformation_mode=mode,
        output_height=size,
        output_width=size,
        sampling_ratio=sampling,
        spatial_scale=scale,
    )
    real, whole = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    inputs = [
        helper.make_tensor_value_info("x", real, ["n", "c", "h", "w"]),
        helper.make_tensor_value_info("rois", real, ["k", 4]),
        helper.make_tensor_value_info("frames", whole, ["k"]),
    ]
    outputs = [helper.make_tensor_value_info("y", real, ["k", "c", size, size])]
    graph = helper.make_graph([node], "roi", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)])
    model.ir_version = 8
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def roi_align_of_level(
    level: Tensor, box: Tensor, scale: float, *, size: int, sampling: int, aligned: bool
) -> Tensor:
    """Return (C, size, size) of one box (4,) on one level (1,C,H,W)."""
    session = _roi_align_session(size, sampling, aligned, scale)
    feed = {
        "x": level.numpy(),
        "rois": box[None].numpy(),
        "frames": np.zeros(1, dtype=np.int64),
    }
    return torch.from_numpy(session.run(None, feed)[0][0])


def level_of(box: Tensor) -> int:
    """Return 2..5, detectron2's assign_boxes_to_levels."""
    edge = math.sqrt(float(box[2] - box[0]) * float(box[3] - box[1]))
    return min(5, max(2, math.floor(4 + math.log2(edge / 224 + 1e-8))))


def _conv(state: State, key: str, x: Tensor, eps: float, stride: int = 1) -> Tensor:
    weight = state[f"{key}.weight"]
    x = functional.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2)
    gain = state[f"{key}.norm.weight"] / torch.sqrt(
        state[f"{key}.norm.running_var"] + eps
    )
    shift = state[f"{key}.norm.bias"] - state[f"{key}.norm.running_mean"] * gain
    return x * gain[None, :, None, None] + shift[None, :, None, None]


def pyramid(state: State, x: Tensor, eps: float = 1e-5) -> list[Tensor]:
    """Return p2..p5 of normalised (1,3,H,W): stride in the 3x3 convolutions."""
    body = "backbone.bottom_up"
    x = functional.relu(_conv(state, f"{body}.stem.conv1", x, eps, 2))
    x = functional.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    stages = []
    for stage in range(2, 6):
        block = 0
        while f"{body}.res{stage}.{block}.conv1.weight" in state:
            key = f"{body}.res{stage}.{block}"
            stride = 2 if stage > 2 and block == 0 else 1
            y = functional.relu(_conv(state, f"{key}.conv1", x, eps))
            y = functional.relu(_conv(state, f"{key}.conv2", y, eps, stride))
            y = _conv(state, f"{key}.conv3", y, eps)
            if block == 0:
                x = _conv(state, f"{key}.shortcut", x, eps, stride)
            x = functional.relu(x + y)
            block += 1
        stages.append(x)
    levels: list[Tensor] = []
    above: Tensor | None = None
    for stage in range(5, 1, -1):
        lateral = functional.conv2d(
            stages[stage - 2],
            state[f"backbone.fpn_lateral{stage}.weight"],
            state[f"backbone.fpn_lateral{stage}.bias"],
        )
        if above is not None:
            lateral = lateral + functional.interpolate(above, scale_factor=2.0)
        above = lateral
        output = functional.conv2d(
            lateral,
            state[f"backbone.fpn_output{stage}.weight"],
            state[f"backbone.fpn_output{stage}.bias"],
            padding=1,
        )
        levels.insert(0, output)
    return levels


def _linear(state: State, key: str, x: Tensor) -> Tensor:
    return functional.linear(x, state[f"{key}.weight"], state.get(f"{key}.bias"))


def _norm(state: State, key: str, x: Tensor) -> Tensor:
    weight = state[f"{key}.weight"]
    return functional.layer_norm(x, weight.shape, weight, state[f"{key}.bias"])


def _attention(state: State, key: str, x: Tensor, heads: int) -> Tensor:
    module = nn.MultiheadAttention(x.shape[1], heads, batch_first=True).eval()
    prefix = f"{key}."
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    module.load_state_dict(own)
    return module(x[None], x[None], x[None], need_weights=False)[0][0]


def _instance(state: State, key: str, feature: Tensor, roi: Tensor) -> Tensor:
    """Apply the dynamic convolution to one RoI (C,7,7) of one proposal (C,)."""
    inner = state[f"{key}.norm1.weight"].shape[0]
    width = feature.shape[0]
    made = _linear(state, f"{key}.dynamic_layer", feature)
    first, second = made[: width * inner], made[width * inner :]
    x = roi.flatten(1).T @ first.view(width, inner)
    x = functional.relu(_norm(state, f"{key}.norm1", x))
    x = functional.relu(_norm(state, f"{key}.norm2", x @ second.view(inner, width)))
    x = _linear(state, f"{key}.out_layer", x.flatten())
    return functional.relu(_norm(state, f"{key}.norm3", x))


def _tower(state: State, key: str, depth: int, x: Tensor) -> Tensor:
    for layer in range(depth):
        x = _linear(state, f"{key}.{3 * layer}", x)
        x = functional.relu(_norm(state, f"{key}.{3 * layer + 1}", x))
    return x


def _decoded(box: Tensor, delta: Tensor) -> Tensor:
    width, height = box[2] - box[0], box[3] - box[1]
    limit = math.log(100000.0 / 16)
    x = box[0] + 0.5 * width + delta[0] / 2 * width
    y = box[1] + 0.5 * height + delta[1] / 2 * height
    width = width * torch.exp(torch.clamp(delta[2], max=limit))
    height = height * torch.exp(torch.clamp(delta[3], max=limit))
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return torch.stack(corners)


@torch.no_grad()
def detect(
    state: State, x: Tensor, height: int, width: int, *, heads: int
) -> tuple[Tensor, Tensor]:
    """Return boxes (K,4) and class probabilities (K,classes) of one image (1,3,H,W)."""
    levels = pyramid(state, x)
    boxes = []
    for cx, cy, w, h in state["init_proposal_boxes.weight"]:
        corners = ((cx - w / 2) * width, (cy - h / 2) * height)
        corners += ((cx + w / 2) * width, (cy + h / 2) * height)
        boxes.append(torch.stack(corners))
    feature = state["init_proposal_features.weight"]
    stage = 0
    while f"head.head_series.{stage}.linear1.weight" in state:
        key = f"head.head_series.{stage}"
        attended = _attention(state, f"{key}.self_attn", feature, heads)
        feature = _norm(state, f"{key}.norm1", feature + attended)
        rows = []
        for row, box in zip(feature, boxes, strict=True):
            level = level_of(box)
            roi = roi_align_of_level(
                levels[level - 2], box, 0.5**level, size=7, sampling=2, aligned=True
            )
            rows.append(row + _instance(state, f"{key}.inst_interact", row, roi))
        feature = _norm(state, f"{key}.norm2", torch.stack(rows))
        hidden = functional.relu(_linear(state, f"{key}.linear1", feature))
        hidden = _linear(state, f"{key}.linear2", hidden)
        feature = _norm(state, f"{key}.norm3", feature + hidden)
        moved = _tower(state, f"{key}.reg_module", 3, feature)
        deltas = _linear(state, f"{key}.bboxes_delta", moved)
        boxes = [_decoded(b, d) for b, d in zip(boxes, deltas, strict=True)]
        stage += 1
    scores = _tower(state, f"{key}.cls_module", 1, feature)
    return torch.stack(boxes), torch.sigmoid(
        _linear(state, f"{key}.class_logits", scores)
    )
