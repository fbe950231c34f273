"""Answers and order of the pool, with real worker processes."""

from __future__ import annotations

import subprocess
import sys
import threading

import imagecodecs
import numpy as np
import pytest
from support import dicoms
from support.data import pydicom_data
from support.pools import (
    LONG_S,
    PLAIN,
    lut_item,
    one_worker,
    slow_frame,
    wait_until,
)

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.pool import DecodePool
from spinert.runtime.errors import (
    DeadlineExceeded,
    FrameTooCostly,
    MalformedFrame,
    Reason,
    Unavailable,
)
from spinert.runtime.frame import DicomFrame, EncodedFrame, Priority
from spinert.runtime.image import Image


@pytest.fixture(scope="module")
def pool():
    with DecodePool(one_worker(timeout_s=LONG_S)) as running:
        running.wait_ready()
        yield running


@pytest.fixture(scope="module")
def slow() -> DicomFrame:
    return slow_frame()


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

    for changes in (
        {
            0x00283000: ("SQ", lut_item([1, 2, 3])),
            0x00283010: ("SQ", lut_item([9, 8, 7, 6])),
        },
        {0x00281052: ("DS", "-5.5"), 0x00281053: ("DS", "1.25")},
        {
            0x00281050: ("DS", "40"),
            0x00281051: ("DS", "0.5"),
            0x00281056: ("CS", "SIGMOID"),
            0x00280030: ("DS", "0.1\\0.2"),
            0x00180015: ("CS", "CHEST"),
        },
    ):
        packed = dicoms.fragments(imagecodecs.jpegls_encode(dicoms.phantom()))
        for options in ({}, {"syntax": dicoms.JPEG_LS, "stream": packed}):
            data = dicoms.radiograph(
                dicoms.phantom(), bits=12, changes=changes, **options
            )
            there = pool.submit(DicomFrame(data=data)).result(LONG_S)
            here = image_from_dicom(data, DecodeSettings())
            assert_same(there, here)


def assert_same(there: Image, here: Image) -> None:
    for name in type(here).__slots__:
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


def test_the_parent_never_loads_what_parses_hostile_bytes():
    probe = "import spinert.runtime.decode.pool, sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", probe], text=True).split()
    assert not {"pydicom", "imagecodecs", "PIL"} & set(loaded)


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
