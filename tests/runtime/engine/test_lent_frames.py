"""Frames whose bytes lie elsewhere until the engine needs them."""

import hashlib
from dataclasses import replace

import pytest
from support import pools
from support.engines import GatedBackend, raw, request, running_engine, tiny_bundle
from support.pools import PLAIN

from spinert.runtime.decode.pool import DecodePool
from spinert.runtime.engine.admission import payload_bytes
from spinert.runtime.engine.input_hash import input_sha256
from spinert.runtime.errors import FrameTooCostly, Reason, RegionRefused
from spinert.runtime.frame import DicomFrame, bytes_of, size_of


class LentBytes:
    """Counts how often its bytes are asked for; gone where it has none."""

    def __init__(self, content, nbytes=None):
        self.content = content
        self.nbytes = len(content) if nbytes is None else nbytes
        self.asked = 0

    def fetch(self):
        self.asked += 1
        if self.content is None:
            raise RegionRefused(Reason.SHARED_MEMORY_TRUNCATED, "gone")
        return self.content


def at_once(directory):
    return running_engine(tiny_bundle(directory), GatedBackend(), max_delay_ms=0)


def lent(content):
    data = LentBytes(bytes(bytes_of(content.data)))
    return replace(content, data=data), data


def test_raw_pixels_are_answered_as_if_they_had_come_in_the_message(tmp_path):
    frame, _ = lent(raw(90))
    with at_once(tmp_path) as engine:
        expected = engine.submit(request(raw(90))).result(30)
        answer = engine.submit(request(frame)).result(30)
    assert answer.verdict == expected.verdict
    assert answer.input_sha256 == expected.input_sha256


def test_a_lent_file_is_decoded_as_if_it_had_come_in_the_message():
    frame, data = lent(PLAIN)
    with DecodePool(pools.one_worker()) as pool:
        expected = pool.submit(PLAIN).result(pools.LONG_S)
        image = pool.submit(frame).result(pools.LONG_S)
    assert (image.pixels == expected.pixels).all()
    assert input_sha256(frame) == hashlib.sha256(data.content).hexdigest()


def test_bytes_that_are_gone_refuse_the_frame_and_nothing_else(tmp_path):
    gone = replace(raw(90), data=LentBytes(None, size_of(raw(90).data)))
    with at_once(tmp_path) as engine:
        with pytest.raises(RegionRefused) as caught:
            engine.submit(request(gone)).result(30)
        assert caught.value.reason is Reason.SHARED_MEMORY_TRUNCATED
        engine.submit(request(raw(90))).result(30)
    with DecodePool(pools.one_worker()) as pool:
        future = pool.submit(DicomFrame(data=LentBytes(None, 10)))
        with pytest.raises(RegionRefused):
            future.result(pools.LONG_S)
        pool.submit(PLAIN).result(pools.LONG_S)


def test_a_frame_that_is_refused_is_never_read(tmp_path):
    frame, data = lent(raw(90))
    huge = replace(frame, rows=60_000, columns=60_000)
    assert payload_bytes(request(frame)) == data.nbytes
    with (
        at_once(tmp_path) as engine,
        pytest.raises(FrameTooCostly),
    ):
        engine.submit(request(huge)).result(30)
    assert data.asked == 0
