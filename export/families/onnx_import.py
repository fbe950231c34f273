"""Any network as an ONNX file: nothing is built, so an entry is made for each file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from torch import nn

from spinert.export.architecture import CLASSIFIER, Architecture
from spinert.export.checkpoints.style import Option, Style
from spinert.export.errors import GraphError, RecipeError
from spinert.export.onnx_from_torch import foreign_operators
from spinert.export.onnx_import.imported import ImportedFile
from spinert.export.options import MAX_TOP_K
from spinert.export.untrained.calibration import Calibration

__all__ = ["ONNX", "onnx_architecture", "onnx_style"]

ONNX: Final = "onnx"
"""The name of this architecture in a recipe, for classifiers and detectors alike."""

_USUAL: Final = 1000
"""Candidates kept by default; suppression leaves a hundred of them."""
_SUPPRESSION: Final = ("nms_iou", "score_floor")
"""What candidates of an unknown network need: a preset's are of another one."""


def _not_built(_options: Mapping[str, Option], _classes: int) -> nn.Module:
    raise GraphError("an ONNX file is imported as it is, not built")


def _not_seeded(_network: nn.Module, _calibration: Calibration) -> None:
    raise RecipeError("an ONNX file has its weights; untrained:SEED makes none")


def _declared_count(file: ImportedFile, classes: int) -> int:
    """Return how many candidates the file says it gives; `MAX_TOP_K` if it does not."""
    mapping = file.detector()
    name = mapping.boxes or file.outputs[0]
    values = [v for v in file.read.model.graph.output if v.name == name]
    axis = mapping.boxes_axis if mapping.head == "dense" else 1
    axes = [d.dim_value for v in values for d in v.type.tensor_type.shape.dim]
    if len(axes) <= axis or axes[axis] < 1:
        return MAX_TOP_K
    return int(axes[axis]) * (classes if mapping.multi_label else 1)


def _is_suppressed(file: ImportedFile) -> bool:
    """Tell whether a detector shows that it suppresses its candidates itself."""
    is_rows = file.detector().head == "rows"
    return is_rows or "NonMaxSuppression" in foreign_operators(file.read.model)


def onnx_architecture(file: ImportedFile, role: str) -> Architecture:
    """Describe the network that a file holds.

    Raises:
        RecipeError: Neither contract nor mapping says what the file answers.
    """

    def available(_options: Mapping[str, Option], classes: int) -> int:
        return _declared_count(file, classes)

    def operators(_options: Mapping[str, Option]) -> tuple[str, ...]:
        return foreign_operators(file.read.model)

    return Architecture(
        role=role,
        build=_not_built,
        styles=(onnx_style(file, role),),
        calibrate=_not_seeded,
        available=available,
        operators=operators,
    )


def onnx_style(file: ImportedFile, role: str) -> Style:
    """Return what a file brings along of the network around it.

    A detector of one size brings its canvas, and answers that are suppressed already
    are not suppressed again; where nothing shows that they are, the recipe says how
    they are to be. Pixel statistics are in no ONNX file: the recipe says.

    Raises:
        RecipeError: Neither contract nor mapping says what the file answers.
    """
    name = "declared" if file.mapping else "contract"
    if role == CLASSIFIER:
        file.classifier()
        return Style(name=name, marker="")
    image, _ = file.detector_ports()
    detection: dict[str, Any] = {"candidates": min(_USUAL, _declared_count(file, 1))}
    suppressed = _is_suppressed(file)
    if suppressed:
        detection["nms_iou"] = 0.0
    network: dict[str, Any] = {"detection": detection}
    if image.height and image.width:
        size = {"height": image.height, "width": image.width}
        network["input"] = {"canvas": {"letterbox": size}}
    return Style(
        name=name,
        marker="",
        network=MappingProxyType(network),
        asks=() if suppressed else _SUPPRESSION,
    )
