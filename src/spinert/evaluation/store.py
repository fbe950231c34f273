"""Predictions on disk, one JSON object a line: written as they come, read again.

The first line is the subject. Every other line is the outcome of one image; the last
line about an image counts. It holds what the annotation table calls the image, and
no attribute of the image itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from google.protobuf import json_format

from spinert.evaluation.errors import StoreError
from spinert.evaluation.records import (
    Answered,
    Outcome,
    json_from_outcome,
    outcome_from_json,
)
from spinert.evaluation.subject import Subject, json_from_subject, subject_from_json

__all__ = ["Store", "StoredPredictions", "read_store"]

_FORMAT: Final = "spinert-predictions"
_VERSION: Final = 1
_WRONG: Final = (KeyError, TypeError, ValueError, json_format.ParseError)


@dataclass(frozen=True, kw_only=True)
class StoredPredictions:
    """A store as read."""

    subject: Subject
    outcomes: dict[str, Outcome]
    """By image id, the last of each."""


def read_store(path: Path) -> StoredPredictions:
    """Read a store; a last line that was cut off by a crash is left out.

    Raises:
        StoreError: The file cannot be read, is none of ours, or a line is damaged.
    """
    found, _ = _read(path)
    return found


class Store:
    """Appends outcomes to a file; each is on disk when `add` returns.

    A file that is there is continued where bundle, backend and precision are the
    same. Otherwise it is set aside under a name of its own and a new one begun.
    """

    def __init__(self, path: Path, subject: Subject) -> None:
        """Open or begin the store at `path`.

        Raises:
            StoreError: A file is there that is no store, or it cannot be written.
        """
        self.set_aside: Path | None = None
        """Where the predictions of another subject went, if there were any."""
        self.changes: tuple[str, ...] = ()
        """What differs in them: "bundle", "backend", "precision"."""
        self._path = path
        self._answers: dict[str, Answered] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._opened(subject)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        """Return the store, which is open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()

    def answer(self, image_id: str, sha256: str) -> Answered | None:
        """Return the answer for an image whose bytes have not changed, if any."""
        found = self._answers.get(image_id)
        return found if found is not None and found.sha256 == sha256 else None

    def add(self, outcome: Outcome) -> None:
        """Write one outcome.

        Raises:
            StoreError: The file cannot be written.
        """
        try:
            _write(self._file, json_from_outcome(outcome))
        except OSError as error:
            raise StoreError(
                f"cannot write {self._path}: {error.strerror}; what was answered "
                "before is kept, run again to continue"
            ) from error

    def _opened(self, subject: Subject) -> IO[bytes]:
        if self._path.exists():
            found, end = _read(self._path)
            if found.subject.key == subject.key:
                self._answers = {
                    name: outcome
                    for name, outcome in found.outcomes.items()
                    if isinstance(outcome, Answered)
                }
                file: IO[bytes] = self._path.open("r+b")
                file.truncate(end)
                file.seek(end)
                return file
            self.changes = _changes(found.subject, subject)
            self.set_aside = _free_name(self._path, found.subject)
            self._path.rename(self.set_aside)
        file = self._path.open("xb")
        header = {"format": _FORMAT, "version": _VERSION}
        _write(file, header | json_from_subject(subject))
        return file


def _write(file: IO[bytes], values: dict[str, Any]) -> None:
    line = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
    file.write(line.encode() + b"\n")
    file.flush()


def _changes(old: Subject, new: Subject) -> tuple[str, ...]:
    names = ("bundle", "backend", "precision")
    pairs = zip(names, old.key, new.key, strict=True)
    return tuple(name for name, before, after in pairs if before != after)


def _free_name(path: Path, subject: Subject) -> Path:
    stem = f"{path.stem}-{subject.bundle_sha256[:8]}-{subject.precision}"
    name, number = f"{stem}{path.suffix}", 2
    while path.with_name(name).exists():
        name, number = f"{stem}-{number}{path.suffix}", number + 1
    return path.with_name(name)


def _read(path: Path) -> tuple[StoredPredictions, int]:
    """Return the content, and where its last whole line ends."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    whole = content[: content.rfind(b"\n") + 1]
    lines = iter(whole.splitlines())
    subject = _subject(path, next(lines, b""))
    outcomes: dict[str, Outcome] = {}
    for outcome in _outcomes(path, lines):
        # In the order of the last line about an image.
        outcomes.pop(outcome.image_id, None)
        outcomes[outcome.image_id] = outcome
    return StoredPredictions(subject=subject, outcomes=outcomes), len(whole)


def _subject(path: Path, line: bytes) -> Subject:
    try:
        values = json.loads(line)
        if values["format"] != _FORMAT or values["version"] != _VERSION:
            raise ValueError
        return subject_from_json(values)
    except _WRONG:
        raise StoreError(
            f"{path} is not a file of predictions of this version; name another, or "
            "remove it and run again"
        ) from None


def _outcomes(path: Path, lines: Iterator[bytes]) -> Iterator[Outcome]:
    for number, line in enumerate(lines, 2):
        try:
            yield outcome_from_json(json.loads(line))
        except _WRONG:
            raise StoreError(
                f"{path}, line {number}: not a prediction; remove the line and run "
                "again"
            ) from None
