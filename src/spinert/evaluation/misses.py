"""Which images went wrong, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from spinert.evaluation.cases import Box, Case, LabelledBox, Prediction

__all__ = ["IOU_OF_A_HIT", "Miss", "missed_lesions", "worst_misses"]

IOU_OF_A_HIT: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Miss:
    """An image to look at, and what went wrong with it."""

    case: Case
    prediction: Prediction
    what: str


def worst_misses(
    cases: Sequence[Case], predictions: Sequence[Prediction], count: int
) -> list[Miss]:
    """Return up to `count` images, kinds of error in turn, none twice.

    Abnormal images called normal, by rising probability; normal images called
    abnormal, by falling probability; then images by the number of lesions that no
    finding hits.

    Args:
        cases: N annotated images.
        predictions: Of the same images, in the same order.
        count: How many at most.
    """
    pairs = list(zip(cases, predictions, strict=True))
    kinds = [iter(_passed_over(pairs)), iter(_alarms(pairs)), iter(_unhit(pairs))]
    chosen: dict[str, Miss] = {}
    while kinds and len(chosen) < count:
        for kind in list(kinds):
            miss = next((m for m in kind if m.case.image_id not in chosen), None)
            if miss is None:
                kinds.remove(kind)
            elif len(chosen) < count:
                chosen[miss.case.image_id] = miss
    return list(chosen.values())


def missed_lesions(case: Case, prediction: Prediction) -> list[LabelledBox]:
    """Return the lesions that no kept finding of their class hits at IoU 0.5.

    One finding may hit several: this is for looking at, not for counting.
    """
    kept = [box for box in prediction.boxes if box.kept]
    return [
        lesion
        for lesion in case.boxes
        if not any(
            box.label == lesion.label and _iou(box.box, lesion.box) >= IOU_OF_A_HIT
            for box in kept
        )
    ]


_Pairs = Sequence[tuple[Case, Prediction]]


def _passed_over(pairs: _Pairs) -> Iterator[Miss]:
    found = [(c, p) for c, p in pairs if c.abnormal and not p.abnormal]
    for case, prediction in sorted(found, key=lambda pair: pair[1].probability):
        yield Miss(case=case, prediction=prediction, what="abnormal, called normal")


def _alarms(pairs: _Pairs) -> Iterator[Miss]:
    found = [(c, p) for c, p in pairs if not c.abnormal and p.abnormal]
    for case, prediction in sorted(found, key=lambda pair: -pair[1].probability):
        yield Miss(case=case, prediction=prediction, what="normal, called abnormal")


def _unhit(pairs: _Pairs) -> Iterator[Miss]:
    missed = [(len(missed_lesions(c, p)), c, p) for c, p in pairs]
    for count, case, prediction in sorted(missed, key=lambda entry: -entry[0]):
        if count:
            total = len(case.boxes)
            what = f"{count} of {total} lesion{'s' if total > 1 else ''} not found"
            yield Miss(case=case, prediction=prediction, what=what)


def _iou(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / either
