"""Names of findings in VinDr-SpineXR, and the classes they are merged to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

__all__ = [
    "FINDINGS",
    "NO_FINDING",
    "OTHER_LESIONS",
    "Kind",
    "Meaning",
    "Merge",
    "meaning_of",
]

FINDINGS: Final = (
    "Ankylosis",
    "Disc space narrowing",
    "Enthesophytes",
    "Foraminal stenosis",
    "Fracture",
    "Osteophytes",
    "Sclerotic lesion",
    "Spondylolysthesis",
    "Subchondral sclerosis",
    "Surgical implant",
    "Vertebral collapse",
    "Foreign body",
    "Other lesions",
)
"""LT1 to LT13 of arXiv 2106.12930, section 2.1, spelt as the data set spells them."""

NO_FINDING: Final = "No finding"
OTHER_LESIONS: Final = "Other lesions"

# Spellings that mean the same finding, casefolded.
_ALIASES: Final = {"spondylolisthesis": "spondylolysthesis"}


@unique
class Merge(StrEnum):
    """How the 13 findings become the classes of a bundle."""

    PAPER = "paper"
    """A finding outside the bundle's classes counts as "Other lesions" (arXiv
    2106.12930, section 2.1). "No finding" beside a lesion: the image is abnormal."""
    OFFICIAL = "official"
    """As `spine/dataset_dict.py` and `cls_dataset_dict.py` do: the box of such a
    finding is not evaluated, but its image is abnormal. "No finding" beside a
    lesion: the image is normal, its boxes are evaluated all the same."""


@unique
class Kind(StrEnum):
    """What a label says."""

    NO_FINDING = "no finding"
    CLASS = "class"
    """One of the bundle's classes, perhaps by merging."""
    NOT_EVALUATED = "not evaluated"
    """A finding of the data set that no class stands for."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What a label says, and the bundle's class it belongs to ("" for none)."""

    kind: Kind
    name: str = ""


def meaning_of(label: str, classes: Sequence[str], merge: Merge) -> Meaning:
    """Return what `label` says to a bundle with `classes`.

    Case, surplus white space and the two spellings of spondylolisthesis make no
    difference.
    """
    key = _key(label)
    if key == _key(NO_FINDING):
        return Meaning(kind=Kind.NO_FINDING)
    by_key = {_key(name): name for name in classes}
    if key in by_key:
        return Meaning(kind=Kind.CLASS, name=by_key[key])
    if key not in {_key(name) for name in FINDINGS}:
        return Meaning(kind=Kind.UNKNOWN)
    other = by_key.get(_key(OTHER_LESIONS))
    if merge is Merge.PAPER and other is not None:
        return Meaning(kind=Kind.CLASS, name=other)
    return Meaning(kind=Kind.NOT_EVALUATED)


def _key(label: str) -> str:
    folded = " ".join(label.split()).casefold()
    return _ALIASES.get(folded, folded)
