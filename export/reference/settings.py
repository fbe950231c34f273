"""How the reference networks are trained: what `recipe.toml` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from spinert.export.checkpoints.style import Option
from spinert.export.errors import RecipeError
from spinert.export.reference.tables import value_from_table
from spinert.export.toml_file import toml_file

__all__ = [
    "RECIPE",
    "Augmentation",
    "DataSettings",
    "DetectionSettings",
    "ImageSettings",
    "NetworkSettings",
    "Optimisation",
    "SplitSettings",
    "Stage",
    "TrainingSettings",
    "settings_from_toml",
]

RECIPE: Final = Path(__file__).with_name("recipe.toml")
"""What the weights of the project were trained by."""


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise RecipeError(message)


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """Phantoms 0 to `count - 1` of a seed."""

    seed: int
    count: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        _require(self.seed >= 0 and self.count > 0, "seed from 0, count from 1")


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """What is rendered and kept of a phantom."""

    classifier_edge_px: int = 224
    """Of the canvas that the image fills."""
    detector_edge_px: int = 512
    """Of the canvas that it is letterboxed on."""
    long_edge_px: int = 0
    """Of the rendered phantom; 0: the sizes that radiographs have, whose noise and
    sharpness the networks meet in use. Smaller renders faster."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        edges = (self.classifier_edge_px, self.detector_edge_px)
        _require(min(edges) > 0 and self.long_edge_px >= 0, "edges must be positive")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which phantoms, and the network inputs that are kept of them."""

    splits: Mapping[str, SplitSettings]
    """By name; seeds differ, so that no phantom is in two of them."""
    images: ImageSettings = field(default_factory=ImageSettings)

    def __post_init__(self) -> None:
        """Check that splits are disjoint."""
        seeds = [split.seed for split in self.splits.values()]
        _require("train" in self.splits, "splits needs a 'train'")
        _require(len(set(seeds)) == len(seeds), "two splits share a seed; change one")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Steps with inputs of one size."""

    steps: int
    batch: int
    edge_px: int
    """Inputs are scaled to this; small ones cost little and teach most."""
    window_px: int = 0
    """Frames are seen through square windows of this edge; 0: whole. What is learnt in
    a window holds in the whole, and costs a fraction of it."""
    lesion_share: float = 0.75
    """Of the windows of a frame with lesions, the share that is sure to hold one."""
    abnormal_only: bool = False
    """Leave out frames without lesions: most of any other is normal as well."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        _require(min(self.steps, self.batch, self.edge_px) > 0, "must be positive")
        inside = 0 <= self.window_px <= self.edge_px
        _require(inside, "window_px: from 0 to edge_px")
        _require(0 <= self.lesion_share <= 1, "lesion_share: from 0 to 1")

    @property
    def seen_px(self) -> int:
        """Edge of what the network sees in a step."""
        return self.window_px or self.edge_px


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """AdamW with a linear warm-up and a cosine decay to zero."""

    learning_rate: float
    weight_decay: float = 0.02
    """Of convolutions and linear maps; norms and biases are left alone."""
    warmup_steps: int = 200
    gradient_norm: float = 10.0
    """Longer gradients are cut to this length."""
    average_decay: float = 0.999
    """Of the moving average of all weights, which is what is kept in the end."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _require(self.learning_rate > 0, "learning_rate must be positive")
        _require(0 <= self.average_decay < 1, "average_decay: from 0 to below 1")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of training frames. Lengths are shares of the input's."""

    untouched: float = 0.3
    """Share of the frames that keep their geometry, and so their sharpness."""
    flip: float = 0.5
    """Share mirrored left to right; a spine is never upside down."""
    scale: tuple[float, ...] = (0.8, 1.25)
    """Range of magnification."""
    stretch: float = 0.1
    """Most that the axes' magnifications differ from it."""
    gamma: float = 0.3
    """Most that the logarithm of the exponent of grey values differs from 0."""
    contrast: float = 0.2
    brightness: float = 0.1
    """Of full scale."""
    noise: float = 0.03
    """Largest standard deviation, of full scale."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        ordered = len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1]
        _require(ordered, "scale: two numbers, smaller first")
        shares = (self.untouched, self.flip)
        _require(all(0 <= share <= 1 for share in shares), "shares: from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class DetectionSettings:
    """Of a detector: which anchors learn what, and how it is weighed.

    A classifier's guide learns by the same focal loss.
    """

    matched_iou: float = 0.5
    """An anchor that overlaps a lesion this much learns it; the best one always."""
    unmatched_iou: float = 0.4
    """Below it is background; anchors between are left out."""
    focal_alpha: float = 0.25
    focal_gamma: float = 1.5
    huber_delta: float = 0.1
    box_weight: float = 50.0
    visible_share: float = 0.4
    """A lesion is dropped where augmentation leaves less of its box."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        ordered = 0 < self.unmatched_iou <= self.matched_iou < 1
        _require(ordered, "unmatched_iou: above 0 and at most matched_iou")


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """The training of one network."""

    architecture: str
    style: str
    """Key layout of the file and all that comes with it, e.g. the normalisation."""
    seed: int
    optimisation: Optimisation
    stages: tuple[Stage, ...]
    options: Mapping[str, Option] = field(default_factory=lambda: MappingProxyType({}))
    """As in an export recipe, which has to state the same."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    detection: DetectionSettings = field(default_factory=DetectionSettings)

    def __post_init__(self) -> None:
        """Check that there is something to do."""
        _require(bool(self.stages), "stages is empty")

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """A whole recipe."""

    data: DataSettings
    networks: Mapping[str, NetworkSettings]
    sha256: str = ""
    """Of the file."""


def settings_from_toml(path: Path = RECIPE) -> TrainingSettings:
    """Read and check a training recipe.

    Raises:
        RecipeError: The file is missing, not TOML, or has a wrong or unknown key.
    """
    file = toml_file(path)
    values = {**file.values, "sha256": file.sha256}
    return value_from_table(TrainingSettings, values, path.name)
