"""The pool under fire: tests hurt its workers from outside."""

from __future__ import annotations

import errno
import gc
import itertools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
import zlib
from pathlib import Path

import psutil
import pytest
from support import dicoms
from support.data import pydicom_data
from support.pools import (
    LONG_S,
    PLAIN,
    one_worker,
    seeds,
    slow_frame,
    wait_until,
    workers_of,
)

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.pool import DecodePool
from spinert.runtime.decode.process import DecodeProcess, WorkerLost
from spinert.runtime.errors import (
    FrameRefused,
    FrameTooCostly,
    Reason,
    SetupError,
    Unavailable,
)
from spinert.runtime.frame import DicomFrame, EncodedFrame


@pytest.fixture(scope="module")
def pool():
    with DecodePool(one_worker(timeout_s=LONG_S)) as running:
        running.wait_ready()
        yield running


@pytest.fixture(scope="module")
def slow() -> DicomFrame:
    return slow_frame()


def test_a_worker_that_dies_costs_its_frame_only(slow):
    with DecodePool(one_worker()) as fresh:
        fresh.wait_ready()
        (worker,) = workers_of(fresh)
        doomed = fresh.submit(slow)
        wait_until(doomed.running)
        worker.kill()
        with pytest.raises(FrameTooCostly) as caught:
            doomed.result(LONG_S)
        assert caught.value.reason is Reason.DECODER_CRASHED
        assert fresh.submit(PLAIN).result(LONG_S).pixels.any()
        assert not worker.is_running()


def test_a_worker_that_hangs_is_replaced():
    with DecodePool(one_worker(timeout_s=0.5)) as fresh:
        fresh.wait_ready()
        (worker,) = workers_of(fresh)
        worker.suspend()
        with pytest.raises(FrameTooCostly) as caught:
            fresh.submit(PLAIN).result(LONG_S)
        assert caught.value.reason is Reason.DECODE_TIMEOUT
        fresh.wait_ready()
        assert [w.pid for w in workers_of(fresh)] != [worker.pid]


def png_of_192_mib() -> bytes:
    """Return a black RGB picture of 8192 x 8192 pixels, 190 KB long."""
    squeeze = zlib.compressobj(1)
    row = b"\0" + bytes(3 * 8192)
    packed = b"".join(squeeze.compress(row * 64) for _ in range(128)) + squeeze.flush()
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", 8192, 8192, 8, 2, 0, 0, 0),
        b"IDAT": packed,
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + zlib.crc32(name + body).to_bytes(4)
        for name, body in chunks.items()
    )


def test_too_much_memory_is_refused_and_the_worker_lives_on():
    with DecodePool(one_worker(memory_mib=512, timeout_s=LONG_S)) as fresh:
        fresh.wait_ready()
        (worker,) = workers_of(fresh)
        with pytest.raises(FrameTooCostly) as caught:
            fresh.submit(EncodedFrame(data=png_of_192_mib())).result(LONG_S)
        assert caught.value.reason is Reason.DECODE_MEMORY
        assert fresh.submit(PLAIN).result(LONG_S).pixels.any()
        assert workers_of(fresh) == [worker]


def test_signals_meant_for_the_service_do_not_end_workers(pool):
    (worker,) = workers_of(pool)
    worker.send_signal(signal.SIGINT)
    worker.send_signal(signal.SIGTERM)
    assert pool.submit(PLAIN).result(LONG_S).pixels.any()
    assert workers_of(pool) == [worker]


def test_workers_are_confined(pool):
    (worker,) = workers_of(pool)
    limit = DecodeSettings().memory_mib * 2**20
    assert worker.rlimit(psutil.RLIMIT_AS) == (limit, limit)
    assert worker.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    links = [str(link.readlink()) for link in descriptors(worker.pid)]
    assert sum(link.startswith("socket:") for link in links) == 1
    assert sum(link != "/dev/null" for link in links) == 1


def descriptors(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/fd").iterdir())


def test_nothing_leaks_over_many_frames(pool):
    (worker,) = workers_of(pool)
    data = pydicom_data("RG3_J2KI.dcm").read_bytes()
    pool.submit(DicomFrame(data=data)).result(LONG_S)
    gc.collect()
    before = [len(descriptors(pid)) for pid in (os.getpid(), worker.pid)]
    for content in (DicomFrame(data=data), PLAIN, DicomFrame(data=b"junk")) * 5:
        pool.submit(content).exception(LONG_S)
    # The last answer may arrive before its descriptors are closed.
    for pid, count in zip((os.getpid(), worker.pid), before, strict=True):
        wait_until(lambda pid=pid, count=count: len(descriptors(pid)) <= count)


def test_workers_die_with_a_parent_that_is_killed(tmp_path):
    program = (
        "from spinert.runtime.config import DecodeSettings\n"
        "from spinert.runtime.decode.pool import DecodePool\n"
        "import time\n"
        "pool = DecodePool(DecodeSettings(workers=2)); pool.wait_ready()\n"
        "print('ready', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=tmp_path
    ) as parent:
        assert parent.stdout.readline() == b"ready\n"
        children = psutil.Process(parent.pid).children()
        assert len(children) == 2
        parent.kill()
    _, alive = psutil.wait_procs(children, timeout=LONG_S)
    assert not alive


class _Unstartable(DecodeProcess):
    """Fails to start as often as told."""

    failures = 0

    def wait_ready(self) -> None:
        super().wait_ready()
        if _Unstartable.failures:
            _Unstartable.failures -= 1
            self.close()
            raise SetupError(Reason.CONFIG_INVALID, "told to fail")


def test_a_worker_that_cannot_start_is_told_and_tried_again(monkeypatch):
    monkeypatch.setattr("spinert.runtime.decode.pool.DecodeProcess", _Unstartable)
    _Unstartable.failures = 2
    with DecodePool(one_worker()) as fresh:
        with pytest.raises(SetupError):
            fresh.wait_ready()
        with pytest.raises(Unavailable):
            fresh.submit(PLAIN).result(LONG_S)
        wait_until(lambda: _Unstartable.failures == 0 and fresh._ready == 1)
        fresh.wait_ready()
        assert fresh.submit(PLAIN).result(LONG_S).pixels.any()


def test_frames_do_not_wait_for_workers_that_never_start(monkeypatch, caplog):
    monkeypatch.setattr("spinert.runtime.decode.pool.DecodeProcess", _Unstartable)
    monkeypatch.setattr(_Unstartable, "failures", 1000)
    with DecodePool(one_worker()) as fresh:
        waiting = fresh.submit(PLAIN)
        error = waiting.exception(LONG_S)
    assert isinstance(error, Unavailable)
    assert error.reason is Reason.NOT_READY
    assert "told to fail" in caplog.text


def test_a_worker_that_ended_unnoticed_costs_no_frame():
    with DecodePool(one_worker()) as fresh:
        fresh.wait_ready()
        (worker,) = workers_of(fresh)
        worker.kill()
        psutil.wait_procs([worker], timeout=LONG_S)
        assert fresh.submit(PLAIN).result(LONG_S).pixels.any()
        assert workers_of(fresh) != [worker]


def stopped(pid):
    """Stop a process; until it has noticed, it would still read what comes."""
    process = psutil.Process(pid)
    process.suspend()
    until_s = time.monotonic() + LONG_S
    while process.status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < until_s
        time.sleep(0.001)


def test_a_worker_that_dies_before_it_reads_the_frame_is_only_lost(monkeypatch):
    worker = DecodeProcess(one_worker())
    worker.wait_ready()
    stopped(worker._process.pid)
    request = worker._request
    monkeypatch.setattr(
        worker, "_request", lambda *given: (request(*given), worker._process.kill())
    )
    with pytest.raises(WorkerLost):
        worker.decode(PLAIN)
    assert not worker.is_alive


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM])
def test_a_shortage_of_the_parent_is_not_the_fault_of_frame_or_worker(
    pool, monkeypatch, number
):
    def short(*_):
        raise OSError(number, "SECRET")

    (worker,) = workers_of(pool)
    with monkeypatch.context() as patch:
        patch.setattr("spinert.runtime.decode.process.os.memfd_create", short)
        error = pool.submit(PLAIN).exception(LONG_S)
    assert isinstance(error, Unavailable)
    assert error.retry_after_ms > 0
    assert pool.submit(PLAIN).result(LONG_S).pixels.any()
    assert workers_of(pool) == [worker]


def test_no_room_for_the_descriptor_of_an_image_is_a_shortage(pool, monkeypatch):
    def truncated(connection, size, count, flags):
        reply, fds, flags, address = recv_fds(connection, size, count, flags)
        for descriptor in fds:
            os.close(descriptor)
        return reply, [], flags | socket.MSG_CTRUNC, address

    recv_fds = socket.recv_fds
    (worker,) = workers_of(pool)
    with monkeypatch.context() as patch:
        patch.setattr("spinert.runtime.decode.process.socket.recv_fds", truncated)
        error = pool.submit(PLAIN).exception(LONG_S)
    assert isinstance(error, Unavailable)
    assert pool.submit(PLAIN).result(LONG_S).pixels.any()
    assert workers_of(pool) == [worker]


def test_a_closing_pool_does_not_replace_a_worker_it_no_longer_needs(slow, monkeypatch):
    started = []

    class Counted(DecodeProcess):
        def __init__(self, settings: DecodeSettings) -> None:
            started.append(self)
            super().__init__(settings)

    monkeypatch.setattr("spinert.runtime.decode.pool.DecodeProcess", Counted)
    fresh = DecodePool(one_worker())
    fresh.wait_ready()
    doomed = fresh.submit(slow)
    wait_until(doomed.running)
    closer = threading.Thread(target=fresh.close)
    closer.start()
    wait_until(lambda: fresh._is_closed)
    started[0]._process.kill()
    closer.join(LONG_S)
    assert isinstance(doomed.exception(0), FrameTooCostly)
    assert len(started) == 1


def test_a_cancelled_frame_leaves_no_bytes_behind(pool, slow):
    class Payload(bytearray):
        pass

    payload = Payload(PLAIN.data)
    reference = weakref.ref(payload)
    running = pool.submit(slow)
    wait_until(running.running)
    gc.disable()
    try:
        waiting = pool.submit(DicomFrame(data=memoryview(payload)))
        del payload
        assert waiting.cancel()
        assert reference() is None
        assert not running.done(), "it was still in the queue"
    finally:
        gc.enable()
    running.result(LONG_S)


def test_a_worker_without_room_to_start_says_so(monkeypatch):
    class Starved(DecodeProcess):
        def __init__(self, settings: DecodeSettings) -> None:
            object.__setattr__(settings, "memory_mib", 40)
            super().__init__(settings)

    monkeypatch.setattr("spinert.runtime.decode.pool.DecodeProcess", Starved)
    with DecodePool(one_worker()) as fresh, pytest.raises(SetupError) as caught:
        fresh.wait_ready()
    assert "memory" in caught.value.message


def test_memory_that_could_still_change_is_not_mapped():
    worker = DecodeProcess(one_worker())
    worker.wait_ready()
    memory = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.write(memory, bytes(4))
    message = {"rows": 2, "columns": 2, "dtype": "uint8", "bits_stored": 8}
    rest = {"photometric": "MONOCHROME2", "study_uid": "", "notes": []}
    reply = json.dumps({**message, **rest, "is_display_ready": False}).encode()
    with pytest.raises(FrameTooCostly) as caught:
        worker._image(reply, [memory], b"")
    assert caught.value.reason is Reason.DECODER_CRASHED
    assert not worker.is_alive


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"[]",
        b"{}",
        b'{"refused": "SystemExit", "reason": "INTERNAL", "text": ""}',
        b'{"refused": "FrameRefused", "reason": "NO_SUCH_REASON", "text": ""}',
    ],
)
def test_a_worker_that_talks_nonsense_is_ended(reply):
    worker = DecodeProcess(one_worker())
    with pytest.raises(FrameTooCostly):
        worker._image(reply, [], b"")
    assert not worker.is_alive


def test_bombs_do_not_end_the_worker(pool):
    (worker,) = workers_of(pool)
    for bomb in dicoms.bombs().values():
        with pytest.raises(FrameRefused):
            pool.submit(DicomFrame(data=bomb)).result(LONG_S)
    assert workers_of(pool) == [worker]


def test_2000_mutated_files_give_images_or_refusals(pool):
    (worker,) = workers_of(pool)
    originals = seeds()
    files = [
        dicoms.mutated(original, seed)
        for seed, original in zip(range(2000), itertools.cycle(originals), strict=False)
    ]
    futures = [pool.submit(DicomFrame(data=data)) for data in files]
    outcomes = [future.exception(120) for future in futures]
    assert all(error is None or isinstance(error, FrameRefused) for error in outcomes)
    reasons = {error.reason for error in outcomes if error is not None}
    assert len(reasons) >= 8
    assert sum(error is None for error in outcomes) >= 100
    assert workers_of(pool) == [worker]
