"""Stored predictions beside their annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spinert.evaluation.cases import Case
from spinert.evaluation.errors import StoreError
from spinert.evaluation.pairs import Pairs, paired
from spinert.evaluation.records import Answered
from spinert.evaluation.store import StoredPredictions, read_store
from spinert.evaluation.subject import precision_text
from spinert.runtime.bundle import LoadedBundle

__all__ = ["STORE_NAME", "StoredPairs", "answers_of", "pairs_from_store", "store_path"]

STORE_NAME: Final = "predictions.jsonl"
"""In a report folder."""


@dataclass(frozen=True, kw_only=True)
class StoredPairs:
    """Images of a split that a store has answers for."""

    pairs: Pairs
    precision: str
    """In words."""
    splits: tuple[str, ...]
    """Under which the answers were asked for."""
    remarks: tuple[str, ...]
    """What to tell: images without an answer."""


def store_path(path: Path) -> Path:
    """Return the file of predictions: itself, or that of a report folder."""
    return path / STORE_NAME if path.is_dir() else path


def answers_of(stored: StoredPredictions, cases: Sequence[Case]) -> list[Answered]:
    """Return the answers for `cases` that the store has, in their order."""
    found = (stored.outcomes.get(case.image_id) for case in cases)
    return [outcome for outcome in found if isinstance(outcome, Answered)]


def pairs_from_store(
    path: Path, cases: Sequence[Case], bundle: LoadedBundle
) -> StoredPairs:
    """Read what `bundle` answered for `cases`.

    Raises:
        StoreError: The store cannot be read or is of another bundle.
        PredictionError: It has no answer for any case.
    """
    stored = read_store(path)
    if stored.subject.bundle_sha256 != bundle.sha256:
        raise StoreError(
            f"{path} holds predictions of bundle {stored.subject.bundle_name} "
            f"{stored.subject.bundle_version}, another than {bundle.directory}; run "
            "`spinert evaluate` with this one"
        )
    answers = answers_of(stored, cases)
    pairs, missing = paired(cases, [answer.prediction for answer in answers])
    remarks = []
    if missing:
        remarks.append(
            f"{len(missing)} of {len(cases)} images have no answer in {path} and are "
            f"left out, for example {missing[0]}"
        )
    return StoredPairs(
        pairs=pairs,
        precision=precision_text(stored.subject),
        splits=tuple(dict.fromkeys(answer.split for answer in answers)),
        remarks=tuple(remarks),
    )
