"""Send files until each has an outcome, whatever becomes of the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client import (
    Client,
    Frame,
    FrameOptions,
    FrameRefusal,
    RequestFailed,
)
from spinert.runtime.report.answers import FileAnswer, FileError
from spinert.runtime.verdict import Output

__all__ = ["answers_from_files"]

_ROUNDS = 8
_LONGEST_WAIT_S = 10.0


def answers_from_files(
    client: Client, paths: Sequence[Path], done: Callable[[], None]
) -> list[FileAnswer]:
    """Stream all files and return what became of each, in the order of `paths`.

    Files that the server refuses for now are sent again after the time it asks
    for. When the stream breaks, the files without an answer say so.

    Args:
        client: Connected to a server that is ready.
        paths: The files.
        done: Called once for every file, on any thread.
    """
    sending = _Sending(client, paths, done)
    waiting: Iterable[int] = range(len(paths))
    for _ in range(_ROUNDS):
        try:
            put_off = sending.send(waiting)
        except RequestFailed as failure:
            sending.give_up(failure)
            break
        if not put_off:
            break
        asked_s = max(refusal.retry_after_ms for refusal in put_off.values()) / 1000
        time.sleep(min(asked_s, _LONGEST_WAIT_S))
        waiting = sorted(put_off)
    else:
        for index, refusal in put_off.items():
            sending.note(index, _error(refusal, is_refusal=False))
    return sending.answers()


class _Sending:
    def __init__(
        self, client: Client, paths: Sequence[Path], done: Callable[[], None]
    ) -> None:
        self._client = client
        self._paths = paths
        self._done = done
        self._outcomes: dict[int, pb.Result | FileError] = {}

    def send(self, indices: Iterable[int]) -> dict[int, FrameRefusal]:
        """Stream these files; return those that may be sent again later."""
        put_off: dict[int, FrameRefusal] = {}
        for answer in self._client.stream(self._frames(indices)):
            index = int(answer.frame_id)
            if not isinstance(answer, FrameRefusal):
                self.note(index, answer)
            elif answer.retry_after_ms:
                put_off[index] = answer
            else:
                self.note(index, _error(answer, is_refusal=True))
        return put_off

    def give_up(self, failure: RequestFailed) -> None:
        """Note for every file without an outcome that the stream broke."""
        error = FileError(
            status=failure.status.name,
            reason=failure.reason or "STREAM_BROKEN",
            message=failure.message or "the connection to the server broke",
            is_refusal=False,
        )
        for index in range(len(self._paths)):
            if index not in self._outcomes:
                self.note(index, error)

    def note(self, index: int, outcome: pb.Result | FileError) -> None:
        """Record what became of a file."""
        self._outcomes[index] = outcome
        self._done()

    def answers(self) -> list[FileAnswer]:
        """Return the outcome of every file."""
        return [
            FileAnswer(path=path, outcome=self._outcomes[index])
            for index, path in enumerate(self._paths)
        ]

    def _frames(self, indices: Iterable[int]) -> Iterator[Frame]:
        for index in indices:
            options = FrameOptions(frame_id=str(index), outputs=frozenset(Output))
            try:
                yield Frame.from_path(self._paths[index], options)
            except OSError as error:
                self.note(
                    index,
                    FileError(
                        status="UNREADABLE",
                        reason="UNREADABLE",
                        message=error.strerror or "the file cannot be read",
                        is_refusal=False,
                    ),
                )


def _error(refusal: FrameRefusal, *, is_refusal: bool) -> FileError:
    return FileError(
        status=refusal.status.name,
        reason=refusal.reason,
        message=refusal.message,
        is_refusal=is_refusal,
    )
