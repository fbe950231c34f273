"""Put every annotated image before a bundle, going on where an earlier run ended."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from spinert.evaluation.asking import ImageFile, Source
from spinert.evaluation.cases import Case
from spinert.evaluation.records import Answered, Outcome, Unanswered
from spinert.evaluation.store import Store
from spinert.evaluation.subject import Subject

__all__ = ["Run", "run_cases"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What became of every case, in their order."""

    subject: Subject
    outcomes: tuple[Outcome, ...]
    continued: int
    """Answers that an earlier run had stored."""

    @property
    def answered(self) -> tuple[Answered, ...]:
        """Return the images with a prediction."""
        return tuple(o for o in self.outcomes if isinstance(o, Answered))

    @property
    def unanswered(self) -> tuple[Unanswered, ...]:
        """Return the images without one."""
        return tuple(o for o in self.outcomes if isinstance(o, Unanswered))


def run_cases(
    cases: Sequence[Case],
    split: str,
    source: Source,
    store: Store,
    done: Callable[[], None],
) -> Run:
    """Return what `source` answers for every case.

    An image that `store` has an answer for is not asked again, as long as its bytes
    are the same. One without an answer is: a limit may have been raised since.

    Args:
        cases: With distinct image ids.
        split: Their name, stored with every answer.
        source: What answers.
        store: Takes every outcome as it comes.
        done: Called once for every case, on any thread.

    Raises:
        AnswersLost: Whatever answers is gone; what was answered is stored.
        StoreError: An outcome cannot be stored.
    """
    outcomes: dict[str, Outcome] = {}
    asked = _Asked(cases, split, store)
    for outcome in source.answers(asked.images(outcomes, done)):
        store.add(outcome)
        outcomes[outcome.image_id] = outcome
        done()
    return Run(
        subject=source.subject,
        outcomes=tuple(outcomes[case.image_id] for case in cases),
        continued=asked.continued,
    )


class _Asked:
    """Reads the files of cases, one ahead of being asked."""

    def __init__(self, cases: Sequence[Case], split: str, store: Store) -> None:
        self.continued = 0
        self._cases = cases
        self._split = split
        self._store = store

    def images(
        self, outcomes: dict[str, Outcome], done: Callable[[], None]
    ) -> Iterator[ImageFile]:
        """Yield what has to be asked; the outcome of the rest is set in `outcomes`."""
        for case in self._cases:
            try:
                data = case.path.read_bytes()
            except OSError as error:
                outcomes[case.image_id] = self._unreadable(case, error)
                done()
                continue
            sha256 = hashlib.sha256(data).hexdigest()
            stored = self._store.answer(case.image_id, sha256)
            if stored is not None:
                self.continued += 1
                outcomes[case.image_id] = stored
                done()
                continue
            yield ImageFile(
                image_id=case.image_id, split=self._split, sha256=sha256, data=data
            )

    def _unreadable(self, case: Case, error: OSError) -> Unanswered:
        return Unanswered(
            image_id=case.image_id,
            split=self._split,
            reason="UNREADABLE",
            message=error.strerror or "the file cannot be read",
            is_refusal=False,
        )
