"""Ask a running appliance about phantoms, one at a time, as a device would."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import grpc

from spinert.phantom.dicom import PhantomKey, dicom_from_phantom, pixels_sha256
from spinert.phantom.truth import Phantom
from spinert.phantom.writing import Draw
from spinert.proto import inference_pb2 as pb
from spinert.runtime.client import Frame, FrameOptions, Output, RequestFailed

__all__ = ["Asked", "Asker", "NoAnswer", "asked_phantoms"]

_TIMEOUT_S: Final = 60.0
_OPTIONS: Final = FrameOptions(
    outputs=frozenset({Output.CLASSIFICATION, Output.FINDINGS})
)
_GONE: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
"""After these there is no use in asking on: each would wait as long again."""


class Asker(Protocol):
    """What is asked: spinert.runtime.client.Client."""

    def analyze(self, frame: Frame, *, timeout_s: float | None) -> pb.Result:
        """Return the answer for one frame.

        Raises:
            RequestFailed: There is none.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class NoAnswer:
    """Why a phantom was not answered."""

    reason: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One phantom, and what the appliance said."""

    key: PhantomKey
    phantom: Phantom
    pixels_sha256: str
    outcome: pb.Result | NoAnswer
    latency_s: float
    """From sending to answer, as the client saw it."""


def asked_phantoms(
    client: Asker,
    keys: Iterable[PhantomKey],
    draw: Draw,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Asked]:
    """Draw, send and yield one phantom after the other.

    A frame that is refused is told like an answer. Once the server does not answer at
    all, the rest is told unasked.
    """
    gone: NoAnswer | None = None
    for key in keys:
        phantom = draw(key)
        frame = Frame.from_dicom(dicom_from_phantom(phantom, key), _OPTIONS)
        began_s = clock()
        outcome: pb.Result | NoAnswer
        if gone is not None:
            outcome = gone
        else:
            try:
                outcome = client.analyze(frame, timeout_s=_TIMEOUT_S)
            except RequestFailed as failure:
                outcome = NoAnswer(
                    reason=failure.reason or failure.status.name,
                    message=failure.message or "the server did not answer",
                )
                if failure.status in _GONE:
                    gone = NoAnswer(
                        reason="NOT_ASKED", message="the server had stopped answering"
                    )
        yield Asked(
            key=key,
            phantom=phantom,
            pixels_sha256=pixels_sha256(phantom),
            outcome=outcome,
            latency_s=clock() - began_s,
        )
