"""What meets in this protocol: a request, who asks, and the engine that answers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.engine.tensors import TensorAnswer
from spinert.runtime.frame import Answer, Buffer, FrameRequest, TensorFrame

__all__ = ["Call", "KserveEngine", "Received"]


class KserveEngine(Protocol):
    """What this protocol needs of an engine."""

    def submit(self, request: FrameRequest) -> Future[Answer]:
        """Admit a frame without blocking; cancelling the future withdraws it.

        Raises:
            RefusedNow: No room, too late, or shutting down.
        """
        ...

    def submit_tensor(
        self, request: FrameRequest, content: TensorFrame
    ) -> Future[TensorAnswer]:
        """Admit one sample for one network alone, the content of `request`.

        Raises:
            RefusedNow: As `submit`.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """A request, and the raw contents that may be views of its message."""

    request: oip.ModelInferRequest
    raw_contents: Sequence[Buffer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """Who asks, and until when an answer is of use."""

    peer: str
    remaining_s: float | None
    """Until the deadline of the call; None: no deadline."""
