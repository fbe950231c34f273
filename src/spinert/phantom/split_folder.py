"""Where one split of a data set lies, and what is there of it already."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from spinert.phantom.errors import DestinationError
from spinert.phantom.files import write_atomically
from spinert.phantom.table import (
    ANNOTATION_COLUMNS,
    VERTEBRA_COLUMNS,
    ImageTruth,
    annotation_rows,
    csv_from_rows,
    truth_from_json,
    vertebra_rows,
)
from spinert.phantom.version import PHANTOM_VERSION

__all__ = ["SplitFolder", "SplitRecord"]

_INDEX: Final = "phantom.json"
_VERTEBRAE: Final = "vertebrae"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_NOTICE: Final = "Computed images of a phantom: there is no patient. Not for diagnosis."


@dataclass(frozen=True, kw_only=True)
class SplitRecord:
    """What a split was made from, as phantom.json has it."""

    seed: int
    count: int
    long_edge_px: int | None
    compression: str | None
    phantom_version: str = PHANTOM_VERSION
    is_complete: bool = False


class SplitFolder:
    """One split of a data set: its images, its tables and the journal until then."""

    def __init__(self, directory: Path, split: str) -> None:
        """Name it; nothing is read or written."""
        self._directory = directory
        self._split = split
        self._annotations = directory / "annotations"
        self._journal = self._annotations / f"{split}.unfinished.jsonl"
        self.images = directory / f"{split}_images"

    @contextmanager
    def claimed(self, record: SplitRecord) -> Iterator[Self]:
        """Make the folders and keep other processes out of them.

        Raises:
            DestinationError: Something else is there, or another process writes it.
            OSError: It cannot be written.
        """
        self._require_place(record)
        self.images.mkdir(parents=True, exist_ok=True)
        self._annotations.mkdir(exist_ok=True)
        with _locked(self._directory):
            self._state(record)
            self._journal.touch()
            yield self

    def journalled(self) -> list[ImageTruth]:
        """Return the truth of the images that are there; a torn last line is none."""
        truths = []
        for line in self._journal.read_text().splitlines():
            try:
                truth = truth_from_json(json.loads(line))
            except (KeyError, TypeError, ValueError):
                continue
            if (self.images / f"{truth.image_id}.dicom").is_file():
                truths.append(truth)
        write_atomically(
            self._journal, "".join(_line(truth) for truth in truths).encode()
        )
        return truths

    def note(self, truth: ImageTruth) -> None:
        """Enter an image that was written into the journal."""
        with self._journal.open("a") as file:
            file.write(_line(truth))

    def finish(self, record: SplitRecord, truths: Sequence[ImageTruth]) -> None:
        """Write the tables of a split whose images are all there."""
        table = csv_from_rows(ANNOTATION_COLUMNS, annotation_rows(truths))
        write_atomically(self._annotations / f"{self._split}.csv", table.encode())
        self._merge_vertebrae(truths)
        self._state(record, is_complete=True)
        self._journal.unlink()

    def _merge_vertebrae(self, truths: Sequence[ImageTruth]) -> None:
        path = self._annotations / f"{_VERTEBRAE}.csv"
        ours = {truth.image_id for truth in truths}
        others: list[list[str]] = []
        if path.is_file():
            with path.open(newline="") as file:
                others = list(csv.reader(file))[1:]
        rows = [row for row in others if row and row[0] not in ours]
        table = csv_from_rows(VERTEBRA_COLUMNS, [*rows, *vertebra_rows(truths)])
        write_atomically(path, table.encode())

    # -------------------------------------------------------------------- index

    def _require_place(self, record: SplitRecord) -> None:
        directory = self._directory
        if not _NAME.fullmatch(self._split) or self._split == _VERTEBRAE:
            raise DestinationError(
                f"a split cannot be called {self._split!r}; call it train or test, or "
                "another word of letters, digits, - and _"
            )
        if directory.exists() and not directory.is_dir():
            raise DestinationError(f"{directory} is a file; name a directory")
        index = self._read_index()
        if index is None:
            present = sorted(directory.iterdir()) if directory.is_dir() else []
            if present:
                raise DestinationError(
                    f"{directory} holds {present[0].name} and is no data set of "
                    "phantoms; name an empty or a new directory"
                )
            return
        there = index["splits"].get(self._split)
        if there is not None:
            self._require_same(there, record)

    def _require_same(self, there: dict[str, Any], record: SplitRecord) -> None:
        """Let only an unfinished split of the same order pass."""
        if there.get("is_complete"):
            raise DestinationError(
                f"{self._directory} holds the split {self._split!r} already "
                f"({there.get('count')} images of seed {there.get('seed')}); name "
                "another --split or another directory"
            )
        for name, wanted in asdict(record).items():
            if there.get(name) != wanted:
                raise DestinationError(
                    f"{self._directory} holds an unfinished split {self._split!r} with "
                    f"{name} {there.get(name)}, not {wanted}: finish it with the same "
                    "options, or name another directory"
                )

    def _read_index(self) -> dict[str, Any] | None:
        path = self._directory / _INDEX
        if not path.is_file():
            return None
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(index["splits"], dict):
                raise TypeError
        except (KeyError, TypeError, ValueError):
            raise DestinationError(
                f"{path} is damaged; name another directory"
            ) from None
        return dict(index)

    def _state(self, record: SplitRecord, *, is_complete: bool = False) -> None:
        index = self._read_index() or {"format": 1, "notice": _NOTICE, "splits": {}}
        index["splits"][self._split] = asdict(record) | {"is_complete": is_complete}
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        write_atomically(self._directory / _INDEX, text.encode())


def _line(truth: ImageTruth) -> str:
    return json.dumps(truth.as_json()) + "\n"


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other processes that lock it out, until the block or the process ends."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DestinationError(
            f"another process writes to {directory}; wait until it has ended"
        ) from None
    finally:
        os.close(handle)
