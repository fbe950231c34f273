"""Reading large spans by two threads: all of it, once, and never waiting for help."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.threads import threads_since

from spinert.runtime.errors import Reason, RegionRefused
from spinert.runtime.server.span_reader import SpanReader

MIB = 2**20
CONTENT = np.random.default_rng(5).bytes(9 * MIB + 12_345)
A_WHILE_S = 30


class Source:
    """Bytes to read, and who read which of them."""

    def __init__(self):
        self.reads = []

    def read(self, at, target):
        self.reads.append((at, len(target), threading.get_ident()))
        target[:] = CONTENT[at : at + len(target)]

    @property
    def readers(self):
        return {reader for _, _, reader in self.reads}


class MeetingSource(Source):
    """The first two pieces are read at once, or never."""

    def __init__(self):
        super().__init__()
        self._met = threading.Barrier(2)

    def read(self, at, target):
        if not self._met.broken and len(self.readers) < 2:
            super().read(at, target)
            self._met.wait(A_WHILE_S)
        else:
            super().read(at, target)


class HeldSource(Source):
    """Whoever is not its maker reads nothing before `go_on`."""

    def __init__(self):
        super().__init__()
        self._maker = threading.get_ident()
        self.is_held = threading.Event()
        self.go_on = threading.Event()

    def read(self, at, target):
        if threading.get_ident() == self._maker:
            assert self.is_held.wait(A_WHILE_S)
        else:
            self.is_held.set()
            assert self.go_on.wait(A_WHILE_S)
        super().read(at, target)


def address_of(view):
    return np.frombuffer(view, np.uint8).__array_interface__["data"][0]


@pytest.fixture
def reader():
    reader = SpanReader(cores=2)
    yield reader
    reader.close()


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("n_bytes", [1, 4 * MIB - 1, 4 * MIB, 7 * MIB + 3, 9 * MIB])
def test_every_byte_is_read_once_and_lies_where_it_should(cores, n_bytes):
    reader, source = SpanReader(cores), Source()
    copied = reader.copied(source, 345, n_bytes)
    assert copied == CONTENT[345 : 345 + n_bytes]
    assert copied.readonly
    expected_at = 345
    for at, length, _ in sorted(source.reads):
        assert at == expected_at
        expected_at += length
    assert expected_at == 345 + n_bytes
    reader.close()


def test_a_large_span_is_read_by_two_threads(reader):
    source = MeetingSource()
    assert reader.copied(source, 0, len(CONTENT)) == CONTENT
    assert len(source.readers) == 2


def test_a_small_span_wakes_nobody(reader):
    source = Source()
    before = set(threading.enumerate())
    reader.copied(source, 0, 3 * MIB)
    assert source.readers == {threading.get_ident()}
    assert not threads_since(before)


def test_one_core_has_nobody_to_wake():
    reader, source = SpanReader(cores=1), Source()
    before = set(threading.enumerate())
    reader.copied(source, 0, len(CONTENT))
    assert not threads_since(before)


def test_a_busy_helper_is_not_waited_for(reader):
    held, alone = HeldSource(), Source()
    with ThreadPoolExecutor(1) as other:
        first = other.submit(reader.copied, held, 0, len(CONTENT))
        assert held.is_held.wait(A_WHILE_S)
        # Helper and caller of `first` both stand still; this one reads all by itself.
        assert reader.copied(alone, 0, len(CONTENT)) == CONTENT
        assert alone.readers == {threading.get_ident()}
        held.go_on.set()
        assert first.result(A_WHILE_S) == CONTENT


def test_what_the_helper_cannot_read_is_an_error_of_the_span(reader):
    class Shorter(HeldSource):
        def read(self, at, target):
            if threading.get_ident() != self._maker:
                self.is_held.set()
                raise RegionRefused(Reason.SHARED_MEMORY_TRUNCATED, "shorter")
            super().read(at, target)

    with pytest.raises(RegionRefused, match="shorter"):
        reader.copied(Shorter(), 0, len(CONTENT))


def test_an_error_is_told_when_nobody_writes_into_the_memory_any_more(reader):
    happened = []

    class Failing(HeldSource):
        def read(self, at, target):
            if threading.get_ident() == self._maker:
                assert self.is_held.wait(A_WHILE_S)
                threading.Timer(0.05, self.go_on.set).start()
                raise RegionRefused(Reason.SHARED_MEMORY_TRUNCATED, "shorter")
            super().read(at, target)
            happened.append("written")

    source = Failing()
    with pytest.raises(RegionRefused, match="shorter"):
        reader.copied(source, 0, len(CONTENT))
    happened.append("told")
    assert happened == ["written", "told"]
    assert len(source.reads) == 1, "the rest was not needed any more"


def test_spans_are_read_after_the_helper_has_ended(reader):
    reader.copied(MeetingSource(), 0, len(CONTENT))
    reader.close()
    source = Source()
    assert reader.copied(source, 0, len(CONTENT)) == CONTENT
    assert source.readers == {threading.get_ident()}


def test_memory_is_free_for_others_at_once_even_where_help_comes_too_late(reader):
    held, seen = HeldSource(), set()
    with ThreadPoolExecutor(1) as other:
        first = other.submit(reader.copied, held, 0, len(CONTENT))
        assert held.is_held.wait(A_WHILE_S)
        for _ in range(5):
            seen.add(address_of(reader.copied(Source(), 0, len(CONTENT))))
        held.go_on.set()
        first.result(A_WHILE_S)
    assert len(seen) == 1


def test_memory_is_free_for_others_at_once_where_help_came(reader):
    seen = set()
    for _ in range(5):
        seen.add(address_of(reader.copied(MeetingSource(), 0, len(CONTENT))))
    assert len(seen) == 1
