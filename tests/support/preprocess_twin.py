"""Preprocessing once more, in NumPy and Pillow: what the native core must equal.

Slow and simple: a pass of its own for each step, every pixel counted.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.image import Image, Note, Photometric, Stored
from spinert.runtime.preprocess.canvas import Placement
from spinert.runtime.preprocess.contrast import CLIPPED_SHARE, LOW_CONTRAST_LEVELS
from spinert.runtime.preprocess.levels import Levels
from spinert.runtime.preprocess.network_input import WantedInput, network_inputs
from spinert.runtime.preprocess.resample import resize_f32
from spinert.runtime.preprocess.voi import values_after_voi

__all__ = [
    "UNCHANGED",
    "counts_twin",
    "grey_twin",
    "network_input_twin",
    "notes_twin",
    "resize_u8",
    "served_input",
    "table_twin",
]

Grey = npt.NDArray[np.uint8]

UNCHANGED = Levels(first=0, table=np.arange(256, dtype=np.uint8), is_constant=False)
"""Of an image that is 8-bit grey already."""


def resize_u8(grey: Grey, height: int, width: int) -> Grey:
    """Resize by Pillow, one axis at a call, so that every version agrees."""
    rows, columns = grey.shape
    image = PillowImage.fromarray(grey)
    if width != columns:
        image = image.resize((width, rows), PillowImage.Resampling.BILINEAR)
    if height != rows:
        image = image.resize((width, height), PillowImage.Resampling.BILINEAR)
    return np.asarray(image)


def table_twin(image: Image, rule: pb.GreyRule, counts: np.ndarray) -> Grey:
    """Return the grey of every stored value from the smallest to the largest."""
    first = int(image.pixels.min())
    stored = np.arange(first, first + len(counts))
    if image.is_display_ready:
        return stored.astype(np.uint8)
    values = values_after_voi(stored.astype(np.float64), image, rule)
    if rule.invert_monochrome1 and image.photometric is Photometric.MONOCHROME1:
        values = values[counts > 0].max() - values
    shifted = values - values[counts > 0].min()
    highest = shifted[counts > 0].max()
    if highest == 0:
        return np.zeros(len(counts), np.uint8)
    return (np.clip(shifted / highest, 0, 1) * 255).astype(np.uint8)


def counts_twin(pixels: Stored) -> np.ndarray:
    """Return how often each value occurs, from the smallest to the largest."""
    return np.bincount(_above_smallest(pixels).ravel())


def _above_smallest(pixels: Stored) -> np.ndarray:
    """Return how far each value lies above the smallest, in as many bits."""
    unsigned = pixels.view(np.dtype(f"u{pixels.itemsize}"))
    return unsigned - unsigned.dtype.type(int(pixels.min()) % 256**pixels.itemsize)


def grey_twin(image: Image, rule: pb.GreyRule) -> Grey:
    """Return the image in 8 bits; one without content is black."""
    table = table_twin(image, rule, counts_twin(image.pixels))
    if image.pixels.min() == image.pixels.max():
        return np.zeros(image.pixels.shape, np.uint8)
    return np.take(table, _above_smallest(image.pixels))


def notes_twin(grey: Grey) -> frozenset[Note]:
    """Return what a histogram of the grey image says about it."""
    levels = np.bincount(grey.ravel(), minlength=256)
    if np.count_nonzero(levels) == 1:
        return frozenset({Note.CONSTANT})
    share = np.cumsum(levels) / levels.sum()
    low, high = np.searchsorted(share, (0.01, 0.99))
    notes = {Note.LOW_CONTRAST} if high - low < LOW_CONTRAST_LEVELS else set()
    if share[0] + 1 - share[254] > CLIPPED_SHARE:
        notes.add(Note.CLIPPED)
    return frozenset(notes)


def network_input_twin(
    grey: Grey, place: Placement, spec: pb.NetworkInput
) -> np.ndarray:
    """Return the input of a network made of a grey image."""
    height, width = place.valid_height, place.valid_width
    if spec.resampler == pb.PILLOW_BILINEAR_U8_HORIZONTAL_FIRST:
        resized = resize_u8(grey, height, width)
    else:
        resized = resize_f32(grey.astype(np.float32), height, width)
    if spec.element_type == pb.ELEMENT_UINT8:
        canvas = np.zeros((1, place.height, place.width), np.uint8)
        canvas[0, :height, :width] = resized
        return canvas
    canvas = np.empty((len(spec.mean), place.height, place.width), np.float32)
    for channel, mean, std, fill in zip(
        canvas, spec.mean, spec.std, spec.fill, strict=True
    ):
        channel[:] = fill
        valid = (resized.astype(np.float32) - np.float32(mean)) / np.float32(std)
        channel[:height, :width] = valid
    return canvas


def served_input(grey: Grey, place: Placement, spec: pb.NetworkInput) -> np.ndarray:
    """Return what the runtime makes of an image that is 8-bit grey already."""
    wanted = [WantedInput(placement=place, spec=spec)]
    (made,), _ = network_inputs(grey, UNCHANGED, wanted)
    return made
