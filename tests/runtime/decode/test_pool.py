"""The pool with real worker processes; tests hurt them from outside."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import struct
import threading
import time
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import psutil
import pytest
from support import dicoms
from support.data import pydicom_data

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.pool import DecodePool
from spinert.runtime.decode.process import DecodeProcess
from spinert.runtime.errors import (
    DeadlineExceeded,
    FrameRefused,
    FrameTooCostly,
    MalformedFrame,
    Reason,
    SetupError,
    Unavailable,
)
from spinert.runtime.frame import DicomFrame, EncodedFrame, Priority

LONG_S = 30.0
PLAIN = DicomFrame(data=dicoms.radiograph(dicoms.phantom(), bits=12))


def one_worker(**changes) -> DecodeSettings:
    return DecodeSettings(**{"workers": 1, **changes})


@pytest.fixture(scope="module")
def pool():
    with DecodePool(one_worker(timeout_s=LONG_S)) as running:
        running.wait_ready()
        yield running


def workers() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [c for c in children if "spinert.runtime.decode.worker" in c.cmdline()]


def slow_frame() -> DicomFrame:
    """Return a frame whose decoding takes about a second."""
    pixels = dicoms.phantom(2000, 2000, bits=16)
    stream = imagecodecs.jpeg2k_encode(
        pixels, codecformat="j2k", reversible=True, level=0
    )
    return DicomFrame(
        data=dicoms.radiograph(
            pixels, syntax=dicoms.JPEG_2000, stream=dicoms.fragments(stream)
        )
    )


@pytest.fixture(scope="module")
def slow() -> DicomFrame:
    return slow_frame()


def wait_until(holds) -> None:
    limit = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.01)


# ------------------------------------------------------------------- answers


def test_uncompressed_pixels_come_back_without_a_copy(pool):
    image = pool.submit(PLAIN).result(LONG_S)
    assert np.array_equal(image.pixels, dicoms.phantom())
    assert np.shares_memory(image.pixels, np.frombuffer(PLAIN.data, np.uint8))
    assert not image.pixels.flags.writeable


def test_pixels_at_an_odd_address_are_aligned():
    odd = b"x" + PLAIN.data
    with DecodePool(one_worker()) as fresh:
        image = fresh.submit(DicomFrame(data=memoryview(odd)[1:])).result(LONG_S)
    assert image.pixels.flags.aligned
    assert np.array_equal(image.pixels, dicoms.phantom())


def test_compressed_pixels_outlive_pool_and_worker():
    with DecodePool(one_worker()) as fresh:
        data = pydicom_data("RG3_J2KR.dcm").read_bytes()
        packed = fresh.submit(DicomFrame(data=data)).result(LONG_S)
        data = pydicom_data("RG3_UNCR.dcm").read_bytes()
        plain = fresh.submit(DicomFrame(data=data)).result(LONG_S)
    assert not packed.pixels.flags.writeable
    assert np.array_equal(packed.pixels, plain.pixels)
    assert packed.window == plain.window
    assert packed.study_uid


def test_every_attribute_crosses_the_process_border(pool):
    from spinert.runtime.decode.dicom import image_from_dicom

    table = dicoms.item(
        dicoms.element(0x00283002, "US", [4, 7, 12])
        + dicoms.element(0x00283006, "US", [5, 900, 17, 4095])
    )
    for changes in (
        {0x00283010: ("SQ", table), 0x00283000: ("SQ", table)},
        {0x00281052: ("DS", "-5.5"), 0x00281053: ("DS", "1.25")},
        {
            0x00281050: ("DS", "40"),
            0x00281051: ("DS", "0.5"),
            0x00281056: ("CS", "SIGMOID"),
            0x00280030: ("DS", "0.1\\0.2"),
            0x00180015: ("CS", "CHEST"),
        },
    ):
        data = dicoms.radiograph(dicoms.phantom(), bits=12, changes=changes)
        there = pool.submit(DicomFrame(data=data)).result(LONG_S)
        here = image_from_dicom(data, DecodeSettings())
        for name in (*type(here).__slots__,):
            assert comparable(getattr(there, name)) == comparable(getattr(here, name))


def comparable(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.dtype, value.tolist()
    if hasattr(value, "entries"):
        return value.first, value.bits, value.entries.tolist()
    return value


def test_encoded_frames_pass_too(pool):
    png = imagecodecs.png_encode(dicoms.phantom(bits=8))
    image = pool.submit(EncodedFrame(data=png)).result(LONG_S)
    assert np.array_equal(image.pixels, dicoms.phantom(bits=8))
    assert image.is_display_ready


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        (DicomFrame(data=b"junk"), MalformedFrame, Reason.MALFORMED_DICOM),
        (DicomFrame(data=b""), MalformedFrame, Reason.EMPTY_FRAME),
        (EncodedFrame(data=b"\xff\xd8\xff"), MalformedFrame, None),
        (DicomFrame(data=dicoms.nested(50)), FrameTooCostly, Reason.NESTING_TOO_DEEP),
    ],
)
def test_a_refusal_crosses_the_process_border(pool, content, kind, reason):
    with pytest.raises(kind) as caught:
        pool.submit(content).result(LONG_S)
    assert reason is None or caught.value.reason is reason
    assert caught.value.message


# -------------------------------------------------------------------- damage


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


def workers_of(pool: DecodePool) -> list[psutil.Process]:
    """Return the workers of `pool`, which must be the youngest pool."""
    n_workers = len(pool._threads)
    return sorted(workers(), key=lambda w: w.create_time())[-n_workers:]


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
    import subprocess
    import sys

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


# --------------------------------------------------------------------- queue


def test_a_waiting_frame_can_be_cancelled_and_costs_nothing(pool, slow):
    first = pool.submit(slow)
    wait_until(first.running)
    waiting = pool.submit(DicomFrame(data=b"junk"))
    assert waiting.cancel()
    assert not first.cancel()
    assert first.result(LONG_S).pixels.any()
    assert pool.submit(PLAIN).result(LONG_S).pixels.any()


def test_a_frame_that_waits_too_long_is_never_decoded(pool, slow):
    first = pool.submit(slow)
    wait_until(first.running)
    late = pool.submit(PLAIN, timeout_s=0.0)
    with pytest.raises(DeadlineExceeded):
        late.result(LONG_S)
    assert first.result(LONG_S).pixels.any()


def test_stat_overtakes_routine(pool, slow):
    order: list[str] = []
    first = pool.submit(slow)
    wait_until(first.running)
    routine = pool.submit(PLAIN)
    stat = pool.submit(PLAIN, priority=Priority.STAT)
    routine.add_done_callback(lambda _: order.append("routine"))
    stat.add_done_callback(lambda _: order.append("stat"))
    routine.result(LONG_S)
    stat.result(LONG_S)
    assert order == ["stat", "routine"]


def test_a_closing_pool_serves_what_it_accepted(slow):
    fresh = DecodePool(one_worker())
    accepted = [fresh.submit(slow), fresh.submit(PLAIN, priority=Priority.STAT)]
    closer = threading.Thread(target=fresh.close)
    closer.start()
    wait_until(lambda: fresh._is_closed)
    with pytest.raises(Unavailable) as caught:
        fresh.submit(PLAIN).result(LONG_S)
    assert caught.value.reason is Reason.SHUTTING_DOWN
    closer.join(LONG_S)
    fresh.close()
    assert all(future.result(0).pixels.any() for future in accepted)


def test_frames_from_many_threads_are_all_answered(pool):
    answers = []

    def send() -> None:
        answers.extend(
            pool.submit(PLAIN).result(LONG_S).pixels.sum() for _ in range(20)
        )

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    assert answers == [dicoms.phantom().sum()] * 80


# ------------------------------------------------------------------- trouble


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


def test_a_worker_without_room_to_start_says_so(monkeypatch):
    class Starved(DecodeProcess):
        def __init__(self, settings: DecodeSettings) -> None:
            object.__setattr__(settings, "memory_mib", 40)
            super().__init__(settings)

    monkeypatch.setattr("spinert.runtime.decode.pool.DecodeProcess", Starved)
    with DecodePool(one_worker()) as fresh, pytest.raises(SetupError) as caught:
        fresh.wait_ready()
    assert "memory" in caught.value.message


# -------------------------------------------------------------------- hostile


def test_bombs_do_not_end_the_worker(pool):
    (worker,) = workers_of(pool)
    for bomb in dicoms.bombs().values():
        with pytest.raises(FrameRefused):
            pool.submit(DicomFrame(data=bomb)).result(LONG_S)
    assert workers_of(pool) == [worker]


def seeds() -> list[bytes]:
    pixels = dicoms.phantom()
    table = dicoms.item(
        dicoms.element(0x00283002, "US", [4, 7, 12])
        + dicoms.element(0x00283006, "US", [5, 900, 17, 4095])
    )
    changes = {
        0x00283010: ("SQ", table),
        0x00281050: ("DS", "40\\450"),
        0x00281051: ("DS", "350\\1500"),
    }
    streams = {
        dicoms.JPEG_2000: imagecodecs.jpeg2k_encode(
            pixels, codecformat="j2k", reversible=True, level=0
        ),
        dicoms.JPEG_LS: imagecodecs.jpegls_encode(pixels),
        dicoms.JPEG_LOSSLESS: imagecodecs.ljpeg_encode(pixels),
        dicoms.HTJ2K: imagecodecs.htj2k_encode(pixels),
        dicoms.JPEG_BASELINE: imagecodecs.jpeg8_encode(pixels.astype(np.uint8)),
    }
    compressed = [
        dicoms.radiograph(
            pixels, syntax=s, bits=12, stream=dicoms.fragments(d), changes=changes
        )
        for s, d in streams.items()
    ]
    native = (dicoms.EXPLICIT, dicoms.IMPLICIT, dicoms.BIG_ENDIAN, dicoms.DEFLATED)
    return compressed + [
        dicoms.radiograph(pixels, syntax=s, bits=12, changes=changes) for s in native
    ]


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
