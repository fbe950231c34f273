"""The cache of engines keeps within its size."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.compiling import ENGINE_KEY, RECORD

from spinert.runtime.compiled.cache import EngineCache
from spinert.runtime.compiled.pruning import Kept, superfluous
from spinert.runtime.compiled.storing import PLAN

KEYS = [replace(ENGINE_KEY, optimization_level=level) for level in range(4)]
SIZE = 1000


@pytest.fixture
def cache(tmp_path) -> EngineCache:
    """Return a cache of four engines, the first unused for longest."""
    cache = EngineCache(tmp_path / "engines")
    for age, key in enumerate(KEYS):
        with cache.building(key, lambda: None):
            cache.store(key, memoryview(bytes(SIZE)), RECORD)
        os.utime(cache.root / key.digest() / PLAN, (1000 + age, 1000 + age))
    return cache


def kept(cache: EngineCache) -> list[int]:
    return [i for i, key in enumerate(KEYS) if (cache.root / key.digest()).exists()]


@pytest.mark.parametrize(
    ("keep", "left"),
    [(4 * SIZE, [0, 1, 2, 3]), (4 * SIZE - 1, [1, 2, 3]), (SIZE, [3]), (0, [])],
)
def test_engines_not_used_for_longest_go_first(cache, keep, left):
    assert cache.prune(keep) == 4 - len(left)
    assert kept(cache) == left


def test_loading_an_engine_counts_as_use(cache):
    assert cache.load(KEYS[0])
    cache.prune(SIZE)
    assert kept(cache) == [0]


def test_engines_in_use_stay(cache):
    assert cache.prune(0, [key.digest() for key in KEYS[:2]]) == 2
    assert kept(cache) == [0, 1]


def test_an_engine_that_is_being_replaced_is_left_alone(cache):
    with cache.building(KEYS[0], lambda: None):
        assert cache.prune(0) == 3
    assert kept(cache) == [0]


def test_what_is_being_written_is_no_engine(cache):
    partial = cache.root / f"{KEYS[0].digest()}.partial"
    partial.mkdir()
    (partial / PLAN).write_bytes(bytes(SIZE))
    assert cache.prune(4 * SIZE) == 0
    assert partial.exists()


ENGINES = st.lists(
    st.builds(
        Kept,
        digest=st.uuids().map(str),
        bytes=st.integers(0, 100),
        used_at=st.floats(0, 10),
    ),
    max_size=8,
)


@given(ENGINES, st.integers(0, 300))
def test_no_more_is_removed_than_needed(engines, keep):
    chosen = superfluous(engines, keep, ())
    sizes = {engine.digest: engine.bytes for engine in engines}
    left = sum(sizes.values()) - sum(sizes[digest] for digest in chosen)
    assert left <= keep
    if chosen:
        assert left + sizes[chosen[-1]] > keep
