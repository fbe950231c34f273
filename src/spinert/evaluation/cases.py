"""What is compared: annotated images, and what a bundle answers for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Case", "LabelledBox", "Prediction", "ScoredBox"]

Box = tuple[float, float, float, float]
"""xmin, ymin, xmax, ymax in pixels of the original image."""


@dataclass(frozen=True, kw_only=True)
class LabelledBox:
    """One annotated lesion."""

    label: str
    box: Box


@dataclass(frozen=True, kw_only=True)
class Case:
    """One annotated image."""

    image_id: str
    path: Path
    abnormal: bool
    """Whether the annotation holds any lesion, also one that is not evaluated."""
    boxes: tuple[LabelledBox, ...]


@dataclass(frozen=True, kw_only=True)
class ScoredBox:
    """One finding of the detector."""

    label: str
    box: Box
    score: float
    kept: bool
    """False where fusion suppressed it."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a bundle answers for one image."""

    image_id: str
    members: tuple[float, ...]
    """Probability of an abnormal image by each member of the classifier."""
    probability: float
    """The members combined, as the bundle says."""
    abnormal: bool
    """The decision at the bundle's threshold."""
    boxes: tuple[ScoredBox, ...]
    """All findings of the detector, also suppressed ones."""
