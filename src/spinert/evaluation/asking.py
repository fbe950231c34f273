"""What is asked of a bundle: images with their bytes, wherever they are answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from spinert.evaluation.records import Outcome, Unanswered, answered_from_result
from spinert.evaluation.subject import Subject
from spinert.proto import inference_pb2 as pb
from spinert.runtime.verdict import Output

__all__ = ["ALL_OUTPUTS", "ImageFile", "Source", "answer_of", "no_answer_of"]

ALL_OUTPUTS = frozenset(Output)
"""Suppressed findings too: without them there is no detector to evaluate."""


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One image file, read."""

    image_id: str
    split: str
    sha256: str
    data: bytes = field(repr=False)


class Source(Protocol):
    """Answers images; what it is does not change while it is open."""

    @property
    def subject(self) -> Subject:
        """Return what answers."""
        ...

    def answers(self, images: Iterable[ImageFile]) -> Iterator[Outcome]:
        """Yield one outcome for each image, several in flight, in any order.

        Args:
            images: May be iterated on another thread, a little ahead.

        Raises:
            AnswersLost: Whatever answers is gone.
        """
        ...


def answer_of(image: ImageFile, result: pb.Result) -> Outcome:
    """Return the outcome of an image that was answered."""
    return answered_from_result(
        result, image_id=image.image_id, split=image.split, sha256=image.sha256
    )


def no_answer_of(
    image: ImageFile, reason: str, message: str, *, is_refusal: bool
) -> Outcome:
    """Return the outcome of an image that was not."""
    return Unanswered(
        image_id=image.image_id,
        split=image.split,
        reason=reason,
        message=message,
        is_refusal=is_refusal,
    )
