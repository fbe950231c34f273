from __future__ import annotations

import numpy as np
import pytest
from support.fake_cuda import FakeBindings, FakePyCuda
from support.fake_device import GPU

from spinert.runtime.device import pycuda
from spinert.runtime.device.cuda_graphs import GraphApi
from spinert.runtime.device.pycuda import PyCudaDevice, open_pycuda_device
from spinert.runtime.errors import BackendError, BackendUnavailable, DeviceLost, Reason


@pytest.fixture
def driver():
    return FakePyCuda()


@pytest.fixture
def bindings():
    return FakeBindings()


@pytest.fixture
def device(driver, bindings):
    return PyCudaDevice(GPU, driver, driver.Context, GraphApi(bindings))


def test_the_context_is_pushed_for_a_block_and_popped_after_it(device, driver):
    with device.current(), device.current():
        assert driver.stack == 2
    assert driver.stack == 0
    with pytest.raises(ZeroDivisionError), device.current():
        1 / 0  # noqa: B018
    assert driver.stack == 0


def test_the_context_of_a_dead_device_is_popped_and_released_as_well(device, driver):
    """PyCUDA aborts a process that ends with a context on its stack."""
    driver.planted["cuMemAlloc"] = "an illegal memory access was encountered"
    with pytest.raises(DeviceLost), device.current():
        device.allocate(1)
    assert driver.stack == 0
    driver.planted["pop"] = "an illegal memory access was encountered"
    device.close()
    assert driver.calls[-1] == "detach"


def test_memory_knows_its_address_and_is_freed_once(device, driver):
    buffer = device.allocate(100)
    assert (buffer.address, buffer.nbytes) == (7000, 100)
    buffer.free()
    buffer.free()
    assert driver.calls.count("cuMemFree") == 1
    assert (device.memory().free_bytes, device.memory().total_bytes) == (60, 100)


def test_page_locked_memory_has_the_size_asked_for(device):
    for nbytes in (0, 1, 77):
        buffer = device.pinned(nbytes)
        assert buffer.array.shape == (nbytes,)
        assert buffer.array.dtype == np.uint8
        buffer.free()
        buffer.free()
        assert buffer.array.size == 0


def test_copies_move_only_the_bytes_asked_for_on_the_stream(device, driver):
    stream, memory, host = device.stream(), device.allocate(100), device.pinned(100)
    device.copy_in(memory, host, 40, stream)
    device.copy_out(host, memory, 60, stream)
    assert "to 7000 40 on Stream" in driver.calls
    assert "from 7000 60 on Stream" in driver.calls


def test_streams_do_not_wait_for_the_default_stream_and_waiters_sleep(device, driver):
    device.stream()
    device.event()
    device.event(timed=True)
    # CU_STREAM_NON_BLOCKING; CU_EVENT_BLOCKING_SYNC, with and without timing.
    assert [c for c in driver.calls if c[:5] in ("Strea", "Event")] == [
        "Stream 1",
        "Event 3",
        "Event 1",
    ]


def test_events_order_streams(device, driver):
    stream, event = device.stream(), device.event()
    event.record(stream)
    stream.wait(event)
    event.synchronize()
    stream.synchronize()
    assert driver.calls[-4:] == [
        "cuEventRecord",
        "cuStreamWaitEvent",
        "cuEventSynchronize",
        "cuStreamSynchronize",
    ]
    assert event.elapsed_ms(device.event(timed=True)) == 1.5


def test_the_text_of_a_failure_tells_what_became_of_the_device(device, driver):
    driver.planted["cuMemAlloc"] = "out of memory"
    with pytest.raises(BackendError) as caught:
        device.allocate(1)
    assert caught.value.reason is Reason.DEVICE_OUT_OF_MEMORY
    driver.planted["cuStreamSynchronize"] = "an illegal memory access was encountered"
    stream = device.stream()
    with pytest.raises(DeviceLost):
        stream.synchronize()
    driver.planted.clear()
    with pytest.raises(DeviceLost):
        device.memory()
    with pytest.raises(DeviceLost), device.current():
        pass


def test_words_only_this_driver_knows_are_asked_of_it(device, driver):
    driver.planted["cuMemAlloc"] = "words of a newer driver"
    with pytest.raises(DeviceLost, match="CUDA_ERROR_TENSOR_MEMORY_LEAK"):
        device.allocate(1)


@pytest.mark.parametrize("probe_fails", [False, True])
def test_words_nobody_knows_make_the_context_prove_itself(device, driver, probe_fails):
    driver.planted["cuMemAlloc"] = "something new"
    driver.probe_fails = probe_fails
    with pytest.raises(DeviceLost if probe_fails else BackendError):
        device.allocate(1)
    assert "synchronize" in driver.calls


def test_closing_twice_releases_the_context_once(device, driver):
    device.close()
    device.close()
    assert driver.calls == ["push", "detach"]


def test_a_stream_of_another_device_is_refused(device):
    with pytest.raises(TypeError, match="another device"):
        device.event().record(object())


# ------------------------------------------------------------------------- graphs


def test_work_is_captured_from_the_stream_and_launched_on_it(device, bindings):
    stream, given = device.stream(), []
    graph = device.capture(stream, lambda: given.append(1))
    graph.launch(stream)
    graph.free()
    graph.free()
    assert given == [1]
    assert bindings.calls == [
        "cuStreamBeginCapture",
        "cuStreamEndCapture",
        "cuGraphInstantiate",
        "cuGraphDestroy",
        "cuGraphLaunch",
        "cuGraphExecDestroy",
    ]


def test_a_capture_ends_whatever_happens_inside(device, bindings):
    def breaks():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        device.capture(device.stream(), breaks)
    assert bindings.calls == [
        "cuStreamBeginCapture",
        "cuStreamEndCapture",
        "cuGraphDestroy",
    ]


@pytest.mark.parametrize(
    "call", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate"]
)
def test_a_failed_capture_leaves_no_graph(device, bindings, call):
    bindings.planted[call] = 901
    with pytest.raises(BackendError, match=f"{call} failed with CUDA error 901"):
        device.capture(device.stream(), lambda: None)
    made = bindings.calls.count("cuStreamEndCapture") - (call == "cuStreamEndCapture")
    assert bindings.calls.count("cuGraphDestroy") == made


def test_a_graph_that_kills_the_device_loses_it(device, bindings):
    stream = device.stream()
    graph = device.capture(stream, lambda: None)
    bindings.planted["cuGraphLaunch"] = 719
    with pytest.raises(DeviceLost):
        graph.launch(stream)
    graph.free()
    assert "cuGraphExecDestroy" not in bindings.calls


def test_without_cuda_bindings_there_are_no_graphs(driver):
    device = PyCudaDevice(GPU, driver, driver.Context, None)
    assert not device.captures_graphs
    with pytest.raises(BackendUnavailable, match="cuda-bindings"):
        device.capture(device.stream(), lambda: None)


# ------------------------------------------------------------------------ opening


def test_a_missing_pycuda_names_the_extra_to_install(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(pycuda, "gpu_of_this_machine", lambda index: GPU)
    monkeypatch.setattr(pycuda, "import_module", missing)
    with pytest.raises(BackendUnavailable, match=r"spinert\[tensorrt\]"):
        open_pycuda_device()


def test_a_device_that_cannot_be_opened_is_named(monkeypatch, driver):
    driver.planted["cuInit"] = "no CUDA-capable device is detected"
    monkeypatch.setattr(pycuda, "gpu_of_this_machine", lambda index: GPU)
    monkeypatch.setattr(pycuda, "import_module", lambda name: driver)
    with pytest.raises(BackendUnavailable, match="Fake GPU cannot be opened"):
        open_pycuda_device()


def test_an_opened_device_says_what_it_is(monkeypatch, driver):
    monkeypatch.setattr(pycuda, "gpu_of_this_machine", lambda index: GPU)
    monkeypatch.setattr(pycuda, "import_module", lambda name: driver)
    device = open_pycuda_device()
    assert device.gpu is GPU
    device.close()


def test_a_kernel_is_launched_with_its_arguments_on_the_stream(device, driver):
    stream, module = device.stream(), device.module(b"fatbin")
    kernel = module.kernel("double", "Piq")
    kernel.launch((3, 2), (32, 8), (7000, -1, 2**40), stream)
    assert "module of 6" in driver.calls
    # Packed as a C compiler would: the int takes 8 bytes before the last.
    assert driver.calls[-1] == "double (3, 2) (32, 8, 1) 24 on Stream"
    module.free()
    module.free()


@pytest.mark.parametrize("call", ["cuModuleLoadDataEx", "cuModuleGetFunction"])
def test_a_program_that_cannot_be_loaded_is_an_error_of_the_backend(
    device, driver, call
):
    driver.planted[call] = "no kernel image is available for execution on the device"
    with pytest.raises(BackendError):
        device.module(b"fatbin").kernel("double", "P")
    assert device.memory().free_bytes == 60


def test_a_launch_that_kills_the_device_says_so(device, driver):
    stream, kernel = device.stream(), device.module(b"fatbin").kernel("double", "P")
    driver.planted["cuLaunchKernel"] = "an illegal memory access was encountered"
    with pytest.raises(DeviceLost):
        kernel.launch((1, 1), (1, 1), (7000,), stream)
    with pytest.raises(DeviceLost):
        device.memory()
