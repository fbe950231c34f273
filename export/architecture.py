"""What an entry of the table of networks says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from torch import Tensor, nn

from spinert.export.checkpoints.style import Option, Style
from spinert.export.options import Limit
from spinert.export.untrained.calibration import Calibration

__all__ = ["CLASSIFIER", "DETECTOR", "Architecture", "SplitNetwork"]

CLASSIFIER: Final = "classifier"
DETECTOR: Final = "detector"


def _as_they_are(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors


def _none_available(_options: Mapping[str, Option], _classes: int) -> int:
    return 0


def _no_conflict(_options: Mapping[str, Option]) -> str:
    return ""


def _never(_options: Mapping[str, Option]) -> bool:
    return False


def _none_stored(
    _options: Mapping[str, Option], _tensors: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    return MappingProxyType({})


def _nothing_follows(_options: Mapping[str, Option]) -> Mapping[str, Any]:
    return MappingProxyType({})


def _portable(_options: Mapping[str, Option]) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class SplitNetwork:
    """A two-stage detector cut where its proposals are suppressed."""

    proposals: nn.Module
    """(N,3,H,W) and image_size (N,2) to p2..p5, boxes (N,L,n,4) and scores (N,L,n),
    best first on each level but for fillers, whose boxes have no width."""
    regions: nn.Module
    """p2..p5, proposals (N,R,4) and image_size to boxes, scores and labels."""
    nms_iou: float
    """Of the suppression between them, within each level."""
    max_proposals: int
    """Best survivors of all levels together (R); fewer are filled up with zeros."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How to build, load and seed one kind of network."""

    role: str
    """`CLASSIFIER`: (N,3,H,W) to one logit (N,1). `DETECTOR`: (N,3,H,W) and
    image_size (N,2) to A candidates: boxes (N,A,4), scores (N,A), labels (N,A) and
    optionally status (N,); see `spinert.export.networks.detector`."""
    build: Callable[[Mapping[str, Option], int], nn.Module]
    """From the options and the number of classes."""
    styles: tuple[Style, ...]
    """Known key layouts; the first is that of untrained weights."""
    calibrate: Callable[[nn.Module, Calibration], None]
    """Seed in place; leaves weights that exercise the arithmetic."""
    options: Mapping[str, Option] = field(default_factory=lambda: MappingProxyType({}))
    """What no weight shows, with defaults; styles and recipes override."""
    limits: Mapping[str, Limit] = field(default_factory=lambda: MappingProxyType({}))
    """Of every option that is not just true or false."""
    conflict: Callable[[Mapping[str, Option]], str] = _no_conflict
    """From options within their limits: what is wrong with them together, and the way
    out; empty if nothing is."""
    approximations: frozenset[str] = frozenset()
    """Options of a detector that trade the original's answers for a simpler graph: how
    far a recipe that sets one is from the style's default is measured and recorded."""
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]] = _as_they_are
    """Rewrites tensors (own keys) that mean the same in another form."""
    stride: int = 1
    """Height and width of the input are multiples of this."""
    fixed_size: bool = False
    """The input's size is part of the graph: its canvas is fixed or a letterbox."""
    available: Callable[[Mapping[str, Option], int], int] = _none_available
    """From options and classes: how many candidates a detector returns (A)."""
    detection: Callable[[Mapping[str, Option]], Mapping[str, Any]] = _nothing_follows
    """From the options: protobuf JSON of the `DetectionRule` fields that follow from
    them. Laid over the style's, under the recipe's."""
    operators: Callable[[Mapping[str, Option]], tuple[str, ...]] = _portable
    """From the options: ONNX operators that not every backend runs."""
    shown: Mapping[str, tuple[str, int]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """Options that weights do show after all: own key and axis of that length. A file
    that shows another value is refused with the value to set."""
    anchors: Callable[
        [Mapping[str, Option], Mapping[str, Tensor]], Mapping[str, Tensor]
    ] = _none_stored
    """From the options and a file: by key, the anchors that training code would have
    stored with them. A file that has others is refused."""
    has_status: Callable[[Mapping[str, Option]], bool] = _never
    """From the options: whether a detector has the output `status`."""
    split: Callable[[nn.Module], SplitNetwork] | None = None
    """From the loaded network; a network with `status` has it."""
