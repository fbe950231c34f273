from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from support.fake_device import FakeDevice, sticky_codes
from support.tensor_rt import MAX_BATCH, networks, opened

from spinert.runtime.errors import BackendError, DeviceLost, Reason

SIZES = ((64, 64), (64, 96), (96, 64))


def test_every_batch_size_and_image_size_gives_its_own_answer():
    with opened("detector") as bench:
        for height, width in SIZES:
            for size in range(1, MAX_BATCH + 1):
                bench.check(bench.batch(size, height, width))


def test_the_answer_is_the_same_with_and_without_cuda_graphs():
    for max_graphs in (0, 8):
        with opened("detector", max_graphs=max_graphs) as bench:
            for _ in range(6):
                bench.check(bench.batch(2, 64, 96))
            assert (bench.runner.graphs > 0) == (max_graphs > 0)


def test_a_device_without_graphs_runs_without():
    with opened(device=FakeDevice(captures_graphs=False)) as bench:
        for _ in range(6):
            bench.check(bench.batch(1))
        assert bench.runner.graphs == 0
        assert "capture" not in bench.device.calls


def test_outputs_belong_to_the_caller():
    with opened() as bench:
        first = bench.batch(3)
        outputs = bench.check(first)
        kept = outputs["logits"].copy()
        for _ in range(5):
            bench.check(bench.batch(3))
        np.testing.assert_array_equal(outputs["logits"], kept)
        assert outputs["logits"].base is None
        outputs["logits"][:] = 0
        bench.check(first)


def test_a_fortran_ordered_or_strided_input_is_read_right():
    with opened() as bench:
        inputs = bench.batch(4)
        expected = bench.expected(inputs)["logits"]
        for image in (np.asfortranarray(inputs["image"]), inputs["image"][::-1]):
            got = bench.runner.run({"image": image})["logits"]
            order = slice(None) if image.flags.f_contiguous else slice(None, None, -1)
            np.testing.assert_array_equal(got, expected[order])


# ------------------------------------------------------------------------ memory


def test_a_thousand_runs_take_no_more_memory_than_three():
    with opened("detector") as bench:
        sizes = [(size, *edges) for size in (1, 3) for edges in SIZES]

        def runs(count):
            for i in range(count):
                bench.check(bench.batch(*sizes[i % len(sizes)]))

        runs(3 * len(sizes))
        used, graphs = bench.device.used_bytes, bench.runner.graphs
        contexts = len(bench.engine.contexts)
        runs(1000)
        assert bench.device.used_bytes == used
        assert bench.runner.graphs <= max(graphs, 8)
        assert len(bench.engine.contexts) <= contexts


def test_closing_gives_everything_back():
    with opened("detector") as bench:
        for _ in range(4):
            bench.check(bench.batch(2, 64, 64))
    assert not bench.device.leaks
    assert not bench.engine.contexts


def test_a_closed_network_refuses_and_never_hangs():
    with opened() as bench:
        inputs = bench.batch(1)
    for _ in range(3):
        with pytest.raises(BackendError, match="is closed"):
            bench.runner.run(inputs)


@pytest.mark.parametrize("call", ["stream", "allocate", "pinned", "event"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_what_fails_while_setting_up_leaves_nothing_behind(call, after):
    device = FakeDevice()
    device.plant(call, 1, after=after)
    with pytest.raises(BackendError), opened("detector", device):
        pass
    assert not device.leaks


def test_a_device_too_small_for_the_largest_batch_says_so_at_the_start():
    device = FakeDevice(memory_bytes=20_000)
    with pytest.raises(BackendError) as caught, opened("detector", device):
        pass
    assert caught.value.reason is Reason.DEVICE_OUT_OF_MEMORY
    assert not device.leaks


def test_an_output_without_a_batch_axis_is_refused():
    device = FakeDevice()
    network = replace(networks()["classifier"], has_batch_axis=False)
    with (
        pytest.raises(BackendError, match=r"'logits' .* has no batch axis"),
        opened(device=device, network=network),
    ):
        pass
    assert not device.leaks


# ------------------------------------------------------------------------ overlap


def test_the_next_batch_is_on_its_way_while_one_is_computed():
    with opened("detector") as bench:
        computing, go_on = threading.Event(), threading.Event()
        compute = bench.network.compute

        def slow(inputs):
            computing.set()
            assert go_on.wait(timeout=20)
            return compute(inputs)

        batches = [bench.batch(2, 64, 64) for _ in range(2)]
        bench.network.compute = slow
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(bench.runner.run, batches[0])
            assert computing.wait(timeout=20)
            second = pool.submit(bench.runner.run, batches[1])
            while bench.device.calls.count("event_synchronize") < 2:
                threading.Event().wait(0.005)
            # Both are enqueued from the upload to the download, neither is answered.
            assert bench.device.calls.count("copy_in") == 4
            assert bench.device.calls.count("copy_out") == 6
            assert not first.done()
            go_on.set()
            answers = [first.result(timeout=20), second.result(timeout=20)]
        bench.network.compute = compute
        for inputs, outputs in zip(batches, answers, strict=True):
            for name, array in bench.expected(inputs).items():
                np.testing.assert_array_equal(outputs[name], array)


def test_many_threads_get_their_own_answers():
    with opened("detector") as bench:
        batches = [bench.batch(1 + i % 4, *SIZES[i % 3]) for i in range(120)]
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(bench.runner.run, batches))
        for inputs, outputs in zip(batches, answers, strict=True):
            for name, array in bench.expected(inputs).items():
                np.testing.assert_array_equal(outputs[name], array)


# ------------------------------------------------------------------------- errors


def test_a_batch_the_engine_was_not_compiled_for_is_refused_before_any_work():
    with opened("detector") as bench:
        calls = len(bench.device.calls)
        for batch in (
            bench.batch(MAX_BATCH + 1, 64, 64),
            bench.batch(1, 64, 128),
            bench.batch(1, 128, 96),
        ):
            with pytest.raises(BackendError, match=r"compiled for inputs up to 4 x 1"):
                bench.runner.run(batch)
        assert len(bench.device.calls) == calls


@pytest.mark.parametrize(
    "change",
    [
        lambda inputs: inputs | {"image": inputs["image"].astype(np.float32)},
        lambda inputs: inputs | {"image_size": inputs["image_size"].astype(np.int64)},
        lambda inputs: {"image": inputs["image"]},
        lambda inputs: inputs | {"more": inputs["image"]},
    ],
)
def test_inputs_of_another_name_or_type_are_refused(change):
    with opened("detector") as bench, pytest.raises(BackendError, match="takes image"):
        bench.runner.run(change(bench.batch(1, 64, 64)))


@pytest.mark.parametrize(
    "call", ["copy_in", "record", "wait", "enqueue", "copy_out", "event_synchronize"]
)
def test_a_call_that_fails_once_costs_one_batch(call):
    with opened() as bench:
        bench.device.plant(call, 1)
        with pytest.raises(BackendError) as caught:
            bench.runner.run(bench.batch(2))
        assert caught.value.reason is Reason.NETWORK_FAILED
        # Both slots still work.
        for _ in range(4):
            bench.check(bench.batch(2))


@pytest.mark.parametrize("code", sticky_codes())
def test_a_fatal_cuda_error_ends_the_device_and_says_so_at_once(code):
    with opened() as bench:
        bench.device.plant("event_synchronize", code)
        with pytest.raises(DeviceLost):
            bench.runner.run(bench.batch(1))
        calls = len(bench.device.calls)
        with pytest.raises(DeviceLost) as caught:
            bench.runner.run(bench.batch(1))
        assert caught.value.reason is Reason.DEVICE_LOST
        assert len(bench.device.calls) == calls


def test_a_run_that_tensorrt_refuses_is_an_error_of_the_network():
    with opened() as bench:
        bench.engine.fails = True
        with pytest.raises(BackendError, match="cannot run in network 'classifier'"):
            bench.runner.run(bench.batch(1))
        bench.engine.fails = False
        bench.check(bench.batch(1))


def test_a_refused_run_of_a_dead_device_is_the_devices_fault():
    """TensorRT only says no; the device is asked why."""
    with opened() as bench:
        bench.engine.fails = True
        bench.device.plant("stream_synchronize", 700)
        with pytest.raises(DeviceLost):
            bench.runner.run(bench.batch(1))


# ------------------------------------------------------------------------- graphs


def test_a_shape_is_captured_when_it_comes_back_and_launched_from_then_on():
    with opened() as bench:
        for graphs, executed in ((0, 1), (1, 3), (1, 3), (1, 3)):
            bench.check(bench.batch(1))
            # The second run is plain, and enqueued once more to be captured.
            assert (bench.runner.graphs, bench.engine.runs) == (graphs, executed)
        assert bench.device.calls.count("graph_launch") == 2


def test_graphs_are_bounded_and_the_least_used_goes_first():
    with opened("detector", max_graphs=4) as bench:
        shapes = [(size, *edges) for size in (1, 2, 3) for edges in SIZES]
        for _ in range(4):
            for shape in shapes:
                for _ in range(4):
                    bench.check(bench.batch(*shape))
                    assert bench.runner.graphs <= 4
        assert len(bench.device.graphs) == bench.runner.graphs
        assert bench.runner.graphs > 0


def test_of_the_graphs_the_one_not_used_for_longest_goes():
    with opened(max_graphs=2) as bench:
        for size in (1, 1, 2, 2, 1, 3, 3):
            bench.check(bench.batch(size))
        runs = bench.engine.runs
        bench.check(bench.batch(1))
        assert bench.engine.runs == runs
        bench.check(bench.batch(2))
        assert bench.engine.runs == runs + 1


def test_a_graph_that_still_runs_is_waited_for_before_it_goes():
    with opened(max_graphs=1) as bench, bench.device.current():
        for _ in range(3):
            bench.check(bench.batch(1))
        plans, slot = bench.runner._plans, bench.runner._free.get()
        plan = plans.plan_for(slot, {"image": (1, 1, 32, 32)})
        assert plan.graph is not None
        plan.enqueue(bench.runner._compute)
        for _ in range(2):
            plans.plan_for(slot, {"image": (2, 1, 32, 32)})
        assert plan.graph.is_free
        bench.runner._free.put(slot)


def test_shapes_seen_once_are_forgotten_in_the_end():
    with opened("detector", max_graphs=1) as bench:
        for size in range(1, MAX_BATCH + 1):
            for edges in SIZES:
                bench.check(bench.batch(size, *edges))
        assert len(bench.runner._plans._seen) <= 4


def test_a_capture_that_fails_costs_the_graph_and_not_the_answer(caplog):
    with opened() as bench:
        bench.device.plant("capture", 900)
        for _ in range(8):
            bench.check(bench.batch(1))
        assert bench.runner.graphs == 0
        assert "runs without CUDA graphs" in caplog.text


def test_after_a_capture_that_fails_the_device_is_asked():
    with opened() as bench:
        bench.device.plant("capture", 900)
        bench.device.plant("check", 700)
        bench.check(bench.batch(1))
        with pytest.raises(DeviceLost):
            bench.runner.run(bench.batch(1))


def test_a_device_that_dies_in_a_capture_is_lost():
    with opened() as bench:
        bench.device.plant("capture", 719)
        bench.check(bench.batch(1))
        with pytest.raises(DeviceLost):
            bench.runner.run(bench.batch(1))
