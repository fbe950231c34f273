"""Full-size checkpoint files in the official layouts, as a user would hold them."""

from __future__ import annotations

from pathlib import Path

import torch

from spinert.export.architectures import ARCHITECTURES
from spinert.export.checkpoints.mapping import own_keys
from support.small_networks import calibration, detector_canvas, golden_frames

CLASSES = 7
FILES = {
    "densenet121": "densenet121.pth",
    "sparse_rcnn_r50_fpn": "sparse_rcnn.pth",
}


def save_official_checkpoints(folder: Path) -> None:
    """Write one checkpoint per entry of FILES, as the official trainers save them."""
    frames = golden_frames(detector_canvas(160))
    for name, file in FILES.items():
        architecture = ARCHITECTURES[name]
        network = architecture.build(dict(architecture.options), CLASSES)
        architecture.calibrate(network, calibration(frames))
        state = network.state_dict()
        style = architecture.styles[0]
        model = {style.source_key(key): state[key] for key in own_keys(network)}
        torch.save({"model": model, "iteration": 9999}, folder / file)
