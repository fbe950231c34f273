"""How long an engine keeps bytes and images."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from dataclasses import replace

import pytest
from support.engines import (
    CLASS_ONLY,
    PATIENCE_S,
    HeldDecoder,
    answers,
    image,
    raw,
    request,
    running_engine,
    wait_until_empty,
)

from spinert.runtime.errors import (
    BackendError,
    MalformedFrame,
    Reason,
)
from spinert.runtime.frame import DicomFrame, Priority
from spinert.runtime.preprocess.levels import levels_from_image


@pytest.fixture
def no_collection():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Payload(bytearray):
    """Bytes that can be watched."""


def watched(level=128):
    payload = Payload(raw(level).data)
    return replace(raw(level), data=memoryview(payload)), weakref.ref(payload)


def gone(reference):
    """Wait for the threads of the engine to let go; no garbage collection runs."""
    until_s = time.monotonic() + 30
    while reference() is not None and time.monotonic() < until_s:
        time.sleep(0.001)
    return reference() is None


def test_an_answered_frame_leaves_no_bytes_behind(bundle, backend, no_collection):
    content, payload = watched()
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        future = engine.submit(request(content))
        del content
        assert future.result(PATIENCE_S)
        assert gone(payload), "whoever keeps the answer does not keep the frame"


def test_a_refused_frame_leaves_no_bytes_behind(bundle, backend, no_collection):
    content, payload = watched()
    wrong = replace(content, rows=79)
    del content
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        future = engine.submit(request(wrong))
        del wrong
        assert isinstance(future.exception(PATIENCE_S), MalformedFrame)
        assert gone(payload)


def test_a_frame_failed_by_a_network_leaves_no_bytes_behind(
    bundle, backend, no_collection
):
    content, payload = watched()
    backend.errors = [BackendError(Reason.NETWORK_FAILED, n) for n in "ab"]
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        future = engine.submit(request(content))
        del content
        assert isinstance(future.exception(PATIENCE_S), BackendError)
        wait_until_empty(engine)
        backend.errors.clear()
        assert gone(payload)


def test_files_wait_for_a_decoder_and_stat_takes_the_next(bundle, backend):
    decoder = HeldDecoder()
    with running_engine(
        bundle, backend, decoder=decoder, max_delay_ms=0, workers=1, prepare_threads=1
    ) as engine:
        routine = [engine.submit(request(DicomFrame(data=b"r"))) for _ in range(4)]
        stat = engine.submit(
            request(DicomFrame(data=b"s"), priority=Priority.STAT, deadline_s=107.0)
        )
        assert len(decoder.futures) == 1, "one worker"
        decoder.futures[0].set_result(image())
        routine[0].result(PATIENCE_S)
        assert [c.data for c, *_ in decoder.submitted] == [b"r", b"s"]
        assert decoder.submitted[1][1:] == (7.0, Priority.STAT)
        decoder.futures[1].set_result(image())
        stat.result(PATIENCE_S)
        assert len(decoder.futures) == 3
        routine[1].cancel()
        assert len(decoder.futures) == 4, "its worker is free at once"
        assert len(engine._decoding.queue) == 1
        routine[2].cancel()
        assert decoder.futures[3].cancelled()
        assert len(engine._decoding.queue) == 0


def test_a_file_that_is_withdrawn_while_it_waits_leaves_no_bytes_behind(
    bundle, backend
):
    limits = {"decoder": HeldDecoder(), "workers": 1, "prepare_threads": 1}
    with running_engine(bundle, backend, **limits) as engine:
        frames = [engine.submit(request(DicomFrame(data=b"r"))) for _ in range(3)]
        assert len(engine._decoding.queue) == 2
        frames[1].cancel()
        assert len(engine._decoding.queue) == 1


def test_a_decoded_image_holds_its_place_until_it_is_prepared(
    bundle, backend, monkeypatch
):
    reached, opened = threading.Event(), threading.Event()

    def held(*args):
        reached.set()
        opened.wait(PATIENCE_S)
        return levels_from_image(*args)

    monkeypatch.setattr("spinert.runtime.engine.prepare.levels_from_image", held)
    decoder = HeldDecoder()
    with running_engine(
        bundle, backend, decoder=decoder, max_delay_ms=0, workers=1, prepare_threads=1
    ) as engine:
        frames = [engine.submit(request(DicomFrame(data=b"d"))) for _ in range(4)]
        for number in range(2):
            decoder.futures[number].set_result(image())
        assert reached.wait(PATIENCE_S)
        assert len(decoder.futures) == 2, "two places: a worker and a thread"
        opened.set()
        answers(frames[:2])
        assert len(decoder.futures) == 3


def test_a_prepared_frame_returns_its_place_while_it_waits_for_a_network(
    bundle, backend
):
    decoder = HeldDecoder()
    with running_engine(
        bundle, backend, decoder=decoder, max_delay_ms=0, workers=1, prepare_threads=1
    ) as engine:
        backend.gate.clear()
        for _ in range(3):
            engine.submit(request(DicomFrame(data=b"d"), outputs=CLASS_ONLY))
        for number in range(2):
            decoder.futures[number].set_result(image())
            backend.wait_until_running(1 - number)
        assert len(decoder.futures) == 3
