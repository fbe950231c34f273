"""The real front over an engine that answers at once: what the front itself costs."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import uvloop

from spinert.runtime.backends import Capabilities
from spinert.runtime.bundle import load_bundle
from spinert.runtime.config import ServerSettings, Settings
from spinert.runtime.frame import Answer, FrameRequest, Lent
from spinert.runtime.replies import identity_from_bundle
from spinert.runtime.server.front import Front
from spinert.runtime.server.logs import event, log_to
from spinert.runtime.server.service import limits_from_settings
from spinert.runtime.server.stream import Serving
from spinert.runtime.verdict import Assessment, Decision, Receipt, Verdict

CAPABILITIES = Capabilities(
    name="none",
    version="0",
    precision="-",
    device="-",
    threads=0,
    concurrent_networks=False,
)


class InstantEngine:
    """Answers before it is asked twice; touches no pixel that came in a message."""

    def __init__(self) -> None:
        self._fetchers = ThreadPoolExecutor(1)

    def submit(self, request: FrameRequest) -> Future[Answer]:
        data = request.content.data
        if not isinstance(data, bytes | memoryview):
            # The copy out of shared memory, on a thread as in the real engine.
            return self._fetchers.submit(_answer_fetched, data)
        future: Future[Answer] = Future()
        future.set_result(ANSWER)
        return future


def _answer_fetched(data: Lent) -> Answer:
    data.fetch()
    return ANSWER


ANSWER = Answer(
    verdict=Verdict(
        abnormal_probability=0.5,
        members=(),
        decision=Decision.ABNORMAL,
        threshold=0.28,
        assessment=Assessment.ABNORMAL,
        findings=(),
        suppressed=(),
        notes=frozenset(),
        reverse_fusion_score=None,
        rows=1,
        columns=1,
    ),
    receipt=Receipt(stages=(), batches=(), total_s=0.0),
    input_sha256="0" * 64,
)


async def main(
    bundle_directory: Path, listen: str = "127.0.0.1:0", fronts: str = "1"
) -> None:
    log_to()
    settings = Settings(
        server=ServerSettings(listen=listen, shared_memory=True, fronts=int(fronts))
    )
    identity = identity_from_bundle(
        load_bundle(bundle_directory),
        CAPABILITIES,
        preprocessing="none",
        runtime_version="0",
    )
    limits = limits_from_settings(settings)
    serving = Serving(
        engine=InstantEngine(), identity=lambda: identity, clock=time.monotonic
    )
    async with Front(settings.server, limits) as front:
        await front.serve(serving)
        logger = logging.getLogger("spinert")
        event(logger, logging.INFO, "ready", address=front.address)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), *sys.argv[2:]))
