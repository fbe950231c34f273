"""Synthetic radiographs that every conversion is checked with.

Seeded, so that a bundle carries its own proof without any patient in it. Patterns look
like radiographs where it matters to arithmetic: smooth soft tissue, a bright spine
with vertebrae, dark collimated borders, a metal implant, noise; 10 to 14 bits. Weights
that have learnt anatomy are asked about phantoms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from spinert.export.preprocess import grey_from_stored
from spinert.export.recipe import GoldenRecipe
from spinert.phantom.making import phantom_from_seed
from spinert.phantom.planning import plan_from_seed
from spinert.proto import bundle_pb2 as pb

__all__ = ["GoldenImage", "golden_images"]

Values = npt.NDArray[np.float64]

_BITS: Final = (12, 10, 14)
_KINDS: Final = ("MONOCHROME2", "MONOCHROME1")


@dataclass(frozen=True, kw_only=True)
class GoldenImage:
    """One frame of the golden set."""

    name: str
    stored: npt.NDArray[np.uint16]
    """Stored values (rows, columns)."""
    bits_stored: int
    photometric_interpretation: str

    def grey(self, rule: pb.GreyRule) -> npt.NDArray[np.uint8]:
        """Return the 8-bit image (rows, columns)."""
        return grey_from_stored(
            self.stored,
            is_monochrome1=self.photometric_interpretation == "MONOCHROME1",
            rule=rule,
        )


def _tissue(rows: int, columns: int, random: np.random.Generator) -> Values:
    """Return smooth random fields of three scales, about 0..1."""
    field = np.zeros((rows, columns))
    for cells, strength in ((3, 0.6), (7, 0.3), (24, 0.1)):
        coarse = random.random((cells, cells)).astype(np.float32)
        smooth = Image.fromarray(coarse).resize(
            (columns, rows), Image.Resampling.BICUBIC
        )
        field += strength * np.asarray(smooth, dtype=np.float64)
    return field


def _spine(rows: int, columns: int, random: np.random.Generator) -> Values:
    """Return a curved column of vertebrae, 0..1."""
    y = np.linspace(0.0, 1.0, rows)[:, None]
    x = np.linspace(0.0, 1.0, columns)[None, :]
    bend = random.uniform(-0.12, 0.12) * np.sin(np.pi * y * random.uniform(0.8, 2.2))
    centre = random.uniform(0.38, 0.62) + bend
    width = random.uniform(0.06, 0.16) * (0.7 + 0.6 * y)
    count = random.uniform(6, 15)
    bone = 0.5 + 0.5 * np.tanh(4 * np.cos(2 * np.pi * (count * y + random.random())))
    column: Values = np.exp(-(((x - centre) / width) ** 4)) * (0.55 + 0.45 * bone)
    return column


def _radiograph(rows: int, columns: int, random: np.random.Generator) -> Values:
    """Return intensities 0..1, bright where little radiation arrives."""
    tissue = random.uniform(0.3, 0.7) * _tissue(rows, columns, random)
    image = tissue + random.uniform(0.25, 0.6) * _spine(rows, columns, random)
    if random.random() < 0.5:
        top, left = int(rows * random.uniform(0.4, 0.7)), int(columns * 0.47)
        image[top : top + rows // 6, left : left + max(2, columns // 24)] = 1.3
    image += random.normal(0.0, random.uniform(0.005, 0.03), image.shape)
    margin_y, margin_x = int(rows * random.uniform(0, 0.08)), int(columns * 0.04)
    shutter = np.full_like(image, 0.02)
    shutter[margin_y : rows - margin_y, margin_x : columns - margin_x] = 1.0
    exposed: Values = np.clip(image * shutter, 0.0, 1.3) / 1.3
    return exposed ** random.uniform(0.6, 1.6)


def _pattern(recipe: GoldenRecipe, index: int) -> GoldenImage:
    random = np.random.default_rng([recipe.seed, index])
    bits = _BITS[index % len(_BITS)]
    kind = _KINDS[index % len(_KINDS)]
    bright = _radiograph(*recipe.sizes[index], random)
    shown = 1.0 - bright if kind == "MONOCHROME1" else bright
    return GoldenImage(
        name=f"frame-{index + 1}",
        stored=np.rint(shown * (2**bits - 1)).astype(np.uint16),
        bits_stored=bits,
        photometric_interpretation=kind,
    )


def _phantom(recipe: GoldenRecipe, index: int) -> GoldenImage:
    """Cut the middle out of a phantom that covers the size; frames have no window.

    Its window is applied to the stored values: what lies outside is cut.
    """
    rows, columns = recipe.sizes[index]
    field = plan_from_seed(recipe.seed, index).field
    spacing_mm = min(field.width_mm / columns, field.height_mm / rows)
    edge = math.ceil(max(field.width_mm, field.height_mm) / spacing_mm) + 1
    drawn = phantom_from_seed(recipe.seed, index, long_edge_px=edge)
    top = (drawn.pixels.shape[0] - rows) // 2
    left = (drawn.pixels.shape[1] - columns) // 2
    stored = drawn.pixels[top : top + rows, left : left + columns]
    if drawn.window is not None:
        half = drawn.window.width / 2
        low, high = drawn.window.center - half, drawn.window.center + half
        stored = np.clip(stored, max(0, round(low)), round(high)).astype(np.uint16)
    return GoldenImage(
        name=f"frame-{index + 1}",
        stored=np.ascontiguousarray(stored),
        bits_stored=drawn.bits_stored,
        photometric_interpretation=drawn.photometric,
    )


def golden_images(recipe: GoldenRecipe) -> tuple[GoldenImage, ...]:
    """Return the frames of a recipe, always the same for the same recipe."""
    draw = _phantom if recipe.images == "phantoms" else _pattern
    return tuple(draw(recipe, index) for index in range(len(recipe.sizes)))
