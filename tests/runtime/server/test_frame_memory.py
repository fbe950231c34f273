"""Memory for frames: used again, and never while somebody looks at it."""

import errno
import mmap

import numpy as np
import pytest

from spinert.runtime.errors import Reason, Unavailable
from spinert.runtime.server.frame_memory import FrameMemory


def address(view):
    return np.frombuffer(view, np.uint8).__array_interface__["data"][0]


def test_memory_is_used_again_once_nobody_views_it():
    memory = FrameMemory()
    first = memory.take(5_000_000)
    where = address(first)
    assert len(first) == 5_000_000
    del first
    assert memory.free_blocks == 1
    second = memory.take(4_000_000)
    assert address(second) == where
    assert len(second) == 4_000_000


def test_memory_is_not_used_again_while_an_array_of_it_lives():
    memory = FrameMemory()
    view = memory.take(1000)
    view[:] = bytes(1000)
    pixels = np.frombuffer(view.toreadonly(), "<u2").reshape(20, 25)[5:10, ::2]
    del view
    assert memory.free_blocks == 0
    memory.take(1000)[:] = b"\xff" * 1000
    assert not pixels.any()
    del pixels
    assert memory.free_blocks == 2


def test_memory_many_times_too_large_is_kept_for_others():
    memory = FrameMemory()
    large = memory.take(50_000_000)
    where = address(large)
    del large
    small = memory.take(1000)
    assert address(small) != where
    assert memory.free_blocks == 1
    assert address(memory.take(40_000_000)) == where


def test_only_a_few_unused_blocks_are_kept():
    memory = FrameMemory(max_free_blocks=2)
    views = [memory.take(1000) for _ in range(5)]
    assert len({address(view) for view in views}) == 5
    views.clear()
    assert memory.free_blocks == 2


def test_memory_is_lent_where_the_kernel_knows_no_huge_pages(monkeypatch):
    class SmallPages(mmap.mmap):
        def madvise(self, *_):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(mmap, "mmap", SmallPages)
    memory = FrameMemory()
    memory.take(5_000_000)[:] = bytes(5_000_000)
    assert memory.free_blocks == 1


def test_memory_that_the_system_does_not_have_is_worth_another_try():
    with pytest.raises(Unavailable) as refused:
        FrameMemory().take(2**60)
    assert refused.value.reason is Reason.NOT_READY
