"""Tiny phantoms, recipes and networks, so that a training takes seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from spinert.export.architecture import Architecture
from spinert.export.families.densenet import densenet
from spinert.export.families.efficientdet import efficientdet
from spinert.export.reference.orders import Order, Pace
from spinert.export.reference.rendering import render_split
from spinert.export.reference.settings import TrainingSettings, settings_from_toml
from spinert.phantom.truth import LESIONS, Phantom, Projection, Region, TrueFinding
from support.efficientdets import SMALL_LEVEL
from support.small_networks import DENSENET

__all__ = [
    "ARCHITECTURES",
    "CLASSIFIER_EDGE_PX",
    "DETECTOR_EDGE_PX",
    "RECIPE",
    "order_of",
    "render_data",
    "rough_phantom",
    "same_weights",
    "write_settings",
]

CLASSIFIER_EDGE_PX = 64
DETECTOR_EDGE_PX = 128
ARCHITECTURES: dict[str, Architecture] = {
    "small_densenet": densenet(DENSENET),
    "small_efficientdet": efficientdet(
        replace(
            SMALL_LEVEL,
            edge=DETECTOR_EDGE_PX,
            spec=replace(SMALL_LEVEL.spec, top_k=200),
        )
    ),
}
RECIPE = f"""
[data.images]
classifier_edge_px = {CLASSIFIER_EDGE_PX}
detector_edge_px = {DETECTOR_EDGE_PX}
long_edge_px = 160

[data.splits]
train = {{ seed = 1, count = 12 }}
validation = {{ seed = 2, count = 6 }}

[networks.small_densenet]
architecture = "small_densenet"
style = "vindr"
seed = 5
stages = [
  {{ steps = 4, batch = 3, edge_px = 32 }},
  {{ steps = 2, batch = 2, edge_px = 64 }},
]
[networks.small_densenet.optimisation]
learning_rate = 1e-3
warmup_steps = 2

[networks.small_efficientdet]
architecture = "small_efficientdet"
style = "effdet_tf"
seed = 6
stages = [{{ steps = 6, batch = 2, edge_px = 128 }}]
[networks.small_efficientdet.options]
anchor_scale = 2.0
[networks.small_efficientdet.optimisation]
learning_rate = 1e-3
warmup_steps = 2
"""


def rough_phantom(seed: int, index: int, *, long_edge_px: int | None = None) -> Phantom:
    """Return noise with a bright square for every finding; odd ones are normal."""
    random = np.random.default_rng(np.random.SeedSequence([seed, index]))
    rows, columns = long_edge_px or 300, int((long_edge_px or 300) * 0.7)
    pixels = random.normal(1000, 60, (rows, columns))
    findings = []
    for number in range(0 if index % 2 else 1 + index % 3):
        edge = rows // 5
        x = int(random.integers(0, columns - edge))
        y = int(random.integers(0, rows - edge))
        pixels[y : y + edge, x : x + edge] += 700
        box = (float(x), float(y), float(x + edge), float(y + edge))
        label = LESIONS[number % len(LESIONS)]
        findings.append(TrueFinding(label=label, box=box))
    return Phantom(
        pixels=pixels.clip(0, 4095).astype(np.uint16),
        bits_stored=12,
        photometric="MONOCHROME2",
        pixel_spacing_mm=0.2,
        window=None,
        projection=Projection.AP,
        region=Region.LUMBAR,
        findings=tuple(findings),
        vertebrae=(),
    )


def write_settings(folder: Path, text: str = RECIPE) -> TrainingSettings:
    path = folder / "training.toml"
    path.write_text(text)
    return settings_from_toml(path)


def render_data(folder: Path, settings: TrainingSettings) -> Path:
    for name, split in settings.data.splits.items():
        render_split(folder / name, settings.data.images, split, rough_phantom)
    return folder


def order_of(
    name: str, settings: TrainingSettings, data: Path, output: Path, **pace: float
) -> Order:
    return Order(
        name=name, settings=settings, data=data, output=output, pace=Pace(**pace)
    )


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)
