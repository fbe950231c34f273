"""Layers of an engine, timed in a context beside those that serve."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.fake_device import FakeDevice, sticky_codes
from support.tensor_rt import networks, opened

from spinert.runtime.backends.profiled import LayerTime
from spinert.runtime.errors import BackendError, DeviceLost


@pytest.mark.parametrize("product", ["tensorrt", "tensorrt-rtx"])
def test_layers_are_told_by_name_without_the_first_run(product):
    with opened("detector", product=product) as bench:
        runs = bench.engine.runs
        told = bench.runner.layer_times(bench.batch(2, 64, 96), 3)
        assert bench.engine.runs == runs + 4
    assert told == (
        LayerTime(name="stem/Conv + stem/Relu", count=1, duration_ms=0.5),
        LayerTime(name="head/MatMul", count=1, duration_ms=0.25),
        LayerTime(name="Reformat", count=2, duration_ms=0.25),
    )


def test_what_serves_is_not_profiled_and_keeps_its_graphs():
    with opened() as bench:
        for _ in range(4):
            bench.check(bench.batch(2))
        graphs, contexts = bench.runner.graphs, set(bench.engine.contexts)
        bench.runner.layer_times(bench.batch(2), 2)
        assert bench.engine.contexts == contexts, "its context is gone"
        for _ in range(4):
            bench.check(bench.batch(2))
        assert bench.runner.graphs == graphs > 0


def test_nothing_is_left_by_a_hundred_profiles():
    with opened() as bench:
        bench.runner.layer_times(bench.batch(1), 1)
        used = bench.device.used_bytes
        for _ in range(100):
            bench.runner.layer_times(bench.batch(1), 1)
        assert bench.device.used_bytes == used


def test_an_engine_that_tells_nothing_is_an_error_with_a_way_out():
    silent = replace(networks()["classifier"], layers_ms=())
    with (
        opened(network=silent) as bench,
        pytest.raises(BackendError, match=r"tells nothing .* Nsight Systems"),
    ):
        bench.runner.layer_times(bench.batch(1), 2)


def test_a_batch_it_was_not_compiled_for_is_refused():
    with opened() as bench:
        contexts = set(bench.engine.contexts)
        with pytest.raises(BackendError, match="was compiled for inputs up to"):
            bench.runner.layer_times(bench.batch(9), 1)
        bench.check(bench.batch(2))
        assert bench.engine.contexts == contexts


def test_a_run_that_is_refused_is_an_error_and_the_network_serves_on():
    with opened() as bench:
        bench.engine.fails = True
        with pytest.raises(BackendError, match="cannot run in network 'classifier'"):
            bench.runner.layer_times(bench.batch(2), 1)
        bench.engine.fails = False
        bench.check(bench.batch(2))


def test_a_device_that_dies_meanwhile_is_lost():
    device = FakeDevice()
    with opened(device=device) as bench:
        device.plant("enqueue", sticky_codes()[0])
        with pytest.raises(DeviceLost):
            bench.runner.layer_times(bench.batch(2), 1)
