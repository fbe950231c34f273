"""The network inputs that training and export share."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
from torch import nn

from spinert.export.architecture import CLASSIFIER, Architecture
from spinert.export.architectures import ARCHITECTURES
from spinert.export.checkpoints.style import Style
from spinert.export.errors import RecipeError
from spinert.export.overrides import override
from spinert.export.preprocess import grey_from_stored
from spinert.export.presets import PRESETS
from spinert.export.reference.settings import ImageSettings, NetworkSettings
from spinert.phantom.truth import Phantom, Window
from spinert.proto import bundle_pb2 as pb

__all__ = [
    "CLASSES",
    "CLASS_NAMES",
    "architecture_of",
    "built",
    "grey_from_phantom",
    "input_of",
    "kept_inputs",
    "style_of",
]

_PRESET: Final = "vindr"

CLASS_NAMES: Final = tuple(entry.name for entry in PRESETS[_PRESET]().classes)
"""In the order of a bundle: the index is the label."""

CLASSES: Final[Mapping[str, int]] = MappingProxyType(
    {name: index for index, name in enumerate(CLASS_NAMES)}
)


def architecture_of(settings: NetworkSettings) -> Architecture:
    """Return the table's entry of a network.

    Raises:
        RecipeError: There is none.
    """
    if settings.architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        message = f"unknown architecture {settings.architecture!r}; one of {known}"
        raise RecipeError(message)
    return ARCHITECTURES[settings.architecture]


def style_of(settings: NetworkSettings, architecture: Architecture) -> Style:
    """Return the key layout that the weights are stored in.

    Raises:
        RecipeError: The architecture has no such style.
    """
    styles = {style.name: style for style in architecture.styles}
    if settings.style not in styles:
        names = ", ".join(sorted(styles))
        raise RecipeError(f"unknown style {settings.style!r}; one of {names}")
    return styles[settings.style]


def built(settings: NetworkSettings, architecture: Architecture) -> nn.Module:
    """Build a network as its training settings say, without weights.

    Raises:
        RecipeError: An option is unknown or does not fit.
    """
    style = style_of(settings, architecture)
    known = {**architecture.options, **style.options}
    if unknown := sorted(settings.options.keys() - known.keys()):
        raise RecipeError(f"{settings.architecture}: no option {unknown[0]!r}")
    options = {**known, **settings.options}
    return architecture.build(options, len(CLASSES))


def input_of(architecture: Architecture, style: Style) -> pb.NetworkInput:
    """Return what a network sees by preset and style, as an export states it."""
    network = PRESETS[_PRESET]().networks[architecture.role]
    override(network, style.network, f"style {style.name}")
    return network.input


def kept_inputs(images: ImageSettings) -> Mapping[str, pb.NetworkInput]:
    """Return the 8-bit inputs that are kept of every phantom, by role.

    The classifier's fills its canvas, the detector's is letterboxed top left.
    """
    stated = {}
    for role, network in PRESETS[_PRESET]().networks.items():
        own = stated[role] = network.input
        if role == CLASSIFIER:
            edge = images.classifier_edge_px
            own.canvas.fixed.CopyFrom(pb.FixedCanvas(height=edge, width=edge))
        else:
            edge = images.detector_edge_px
            own.canvas.letterbox.CopyFrom(pb.Letterbox(height=edge, width=edge))
    return MappingProxyType(stated)


def _windowed(
    stored: npt.NDArray[np.uint16], window: Window, bits: int
) -> npt.NDArray[np.float64]:
    """Apply a linear window, DICOM PS3.3 C.11.2.1.2.1, in float64."""
    values = stored.astype(np.float64)
    center, width, span = window.center - 0.5, window.width - 1, 2**bits - 1
    ramp = ((values - center) / max(width, 1.0) + 0.5) * span
    low, high = values <= center - width / 2, values > center + width / 2
    return np.where(low, 0.0, np.where(high, float(span), ramp))


def grey_from_phantom(phantom: Phantom) -> npt.NDArray[np.uint8]:
    """Return the 8-bit grey image that every network sees of a phantom.

    The bundle's rule: window, inversion of MONOCHROME1, stretch to 0..255.

    Returns:
        uint8 (rows, columns).
    """
    values: npt.NDArray[np.float64] | npt.NDArray[np.uint16] = phantom.pixels
    if phantom.window is not None:
        values = _windowed(phantom.pixels, phantom.window, phantom.bits_stored)
    is_monochrome1 = phantom.photometric == "MONOCHROME1"
    rule = PRESETS[_PRESET]().grey
    return grey_from_stored(values, is_monochrome1=is_monochrome1, rule=rule)
