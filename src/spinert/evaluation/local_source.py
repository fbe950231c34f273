"""Answer images in this process, with the engine a server would run."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from spinert import __version__
from spinert.evaluation.asking import ALL_OUTPUTS, ImageFile, answer_of, no_answer_of
from spinert.evaluation.errors import AnswersLost
from spinert.evaluation.records import Outcome
from spinert.evaluation.subject import Subject, subject_from_bundle
from spinert.runtime.backends import Progress
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.config import Settings
from spinert.runtime.decode.pool import DecodePool
from spinert.runtime.engine.engine import Engine
from spinert.runtime.engine.opening import opened_backend
from spinert.runtime.engine.switch import BackendSwitch
from spinert.runtime.errors import FrameRefused, SpinertError, Unavailable
from spinert.runtime.frame import Answer, FrameRequest
from spinert.runtime.preprocess.network_input import PREPROCESSING
from spinert.runtime.replies import (
    FrameNames,
    Identity,
    identity_from_bundle,
    result_from_answer,
)
from spinert.runtime.report.pictures import content_from_bytes

__all__ = ["LocalSource", "local_source"]

_SPARE_BATCHES = 3
"""In flight beyond those in decode processes: one computed, one copied, one full."""


class LocalSource:
    """A bundle on an engine of this process."""

    def __init__(
        self, engine: Engine, subject: Subject, identity: Identity, in_flight: int
    ) -> None:
        """Answer from a started engine, `in_flight` images at a time."""
        self.subject = subject
        self._engine = engine
        self._identity = identity
        self._in_flight = in_flight

    def answers(self, images: Iterable[ImageFile]) -> Iterator[Outcome]:
        """Yield the outcome of each image, in their order.

        Raises:
            AnswersLost: The engine has failed.
        """
        waiting: deque[tuple[ImageFile, Future[Answer]]] = deque()
        try:
            for image in images:
                if len(waiting) == self._in_flight:
                    yield self._outcome(*waiting.popleft())
                waiting.append((image, self._submitted(image)))
            while waiting:
                yield self._outcome(*waiting.popleft())
        finally:
            for _, future in waiting:
                future.cancel()

    def _submitted(self, image: ImageFile) -> Future[Answer]:
        request = FrameRequest(
            content=content_from_bytes(image.data),
            arrived_s=time.monotonic(),
            outputs=ALL_OUTPUTS,
        )
        try:
            return self._engine.submit(request)
        except SpinertError as error:
            refused: Future[Answer] = Future()
            refused.set_exception(error)
            return refused

    def _outcome(self, image: ImageFile, future: Future[Answer]) -> Outcome:
        try:
            answer = future.result()
        except Unavailable as error:
            raise AnswersLost(
                f"{error.reason}: {error.message}; run again to continue"
            ) from error
        except SpinertError as error:
            is_refusal = isinstance(error, FrameRefused)
            return no_answer_of(
                image, str(error.reason), error.message, is_refusal=is_refusal
            )
        return answer_of(
            image, result_from_answer(answer, self._identity, FrameNames())
        )


@contextmanager
def local_source(
    bundle: LoadedBundle, settings: Settings, progress: Progress
) -> Iterator[LocalSource]:
    """Yield a source that runs `bundle` on the configured backend.

    Args:
        bundle: Its hashes were checked.
        settings: As of a server; a fallback backend is never used here.
        progress: Told when engines are built.

    Raises:
        BackendUnavailable: The backend cannot load the bundle.
        SetupError: No decode process can start.
    """
    with (
        DecodePool(settings.decode) as pool,
        opened_backend(bundle, settings, progress) as backend,
        Engine(bundle, BackendSwitch(backend), pool, settings) as engine,
    ):
        pool.wait_ready()
        capabilities = backend.capabilities
        identity = identity_from_bundle(
            bundle,
            capabilities,
            preprocessing=PREPROCESSING,
            runtime_version=__version__,
        )
        yield LocalSource(
            engine,
            subject_from_bundle(bundle, capabilities),
            identity,
            _in_flight(settings),
        )


def _in_flight(settings: Settings) -> int:
    limits = settings.engine
    wanted = settings.decode.workers + _SPARE_BATCHES * limits.max_batch
    return min(wanted, limits.max_frames, limits.max_frames_per_device)
