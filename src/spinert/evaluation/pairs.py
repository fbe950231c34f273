"""Annotated images together with what a bundle answers for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spinert.evaluation.cases import Case, Prediction
from spinert.evaluation.errors import PredictionError

__all__ = ["Pairs", "paired"]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """One prediction for each of N cases, in the same order."""

    cases: tuple[Case, ...]
    predictions: tuple[Prediction, ...]

    def __post_init__(self) -> None:
        """Check that the two belong together.

        Raises:
            PredictionError: They do not, or there is none.
        """
        if not self.cases:
            raise PredictionError("no annotated image has a prediction; run them first")
        cases = [case.image_id for case in self.cases]
        if cases != [prediction.image_id for prediction in self.predictions]:
            raise PredictionError("predictions are not of the same images as the cases")
        if len({len(prediction.members) for prediction in self.predictions}) > 1:
            raise PredictionError("predictions come from ensembles of different sizes")

    def __len__(self) -> int:
        """Return N."""
        return len(self.cases)

    @cached_property
    def truth(self) -> NDArray[np.bool_]:
        """Abnormal by annotation, [N]."""
        return np.array([case.abnormal for case in self.cases], np.bool_)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Abnormal by the ensemble, [N]."""
        return np.array([p.probability for p in self.predictions], np.float64)

    @cached_property
    def members(self) -> NDArray[np.float64]:
        """Abnormal by each of M members, [N, M]."""
        return np.array([p.members for p in self.predictions], np.float64)


def paired(
    cases: Sequence[Case], predictions: Iterable[Prediction]
) -> tuple[Pairs, tuple[str, ...]]:
    """Put predictions in the order of the cases.

    Returns:
        The pairs, and the identifiers of cases without a prediction, which no figure
        counts: the caller reports them.

    Raises:
        PredictionError: A prediction comes twice or is of no case, or there is none.
    """
    by_id: dict[str, Prediction] = {}
    for prediction in predictions:
        if prediction.image_id in by_id:
            raise PredictionError(f"image {prediction.image_id} has two predictions")
        by_id[prediction.image_id] = prediction
    if extra := sorted(by_id.keys() - {case.image_id for case in cases}):
        raise PredictionError(
            f"{len(extra)} predictions are of images that are not annotated, "
            f"for example {extra[0]}; give the table they were made with"
        )
    there = tuple(case for case in cases if case.image_id in by_id)
    missing = tuple(case.image_id for case in cases if case.image_id not in by_id)
    pairs = Pairs(
        cases=there, predictions=tuple(by_id[case.image_id] for case in there)
    )
    return pairs, missing
