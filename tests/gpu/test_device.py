"""The device seam on a real GPU: what the fake device only imitates."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from support.gpus import missing

from spinert.runtime.errors import BackendError, Reason

pytestmark = pytest.mark.gpu
NBYTES = 1 << 20


def filled(device, seed):
    pinned = device.pinned(NBYTES)
    random = np.random.default_rng(seed)
    pinned.array[:] = random.integers(0, 256, NBYTES, dtype=np.uint8)
    return pinned


def test_what_is_copied_in_comes_out_again(device):
    stream, memory = device.stream(), device.allocate(NBYTES)
    source, target = filled(device, 1), device.pinned(NBYTES)
    target.array[:] = 0
    device.copy_in(memory, source, NBYTES, stream)
    device.copy_out(target, memory, NBYTES - 7, stream)
    stream.synchronize()
    np.testing.assert_array_equal(target.array[:-7], source.array[:-7])
    assert not target.array[-7:].any()
    for owned in (stream, memory, source, target):
        owned.free()


def test_events_lead_work_from_one_stream_to_another(device):
    upload, download, ready = device.stream(), device.stream(), device.event()
    memory, target = device.allocate(NBYTES), device.pinned(NBYTES)
    for seed in range(200):
        source = filled(device, seed)
        device.copy_in(memory, source, NBYTES, upload)
        ready.record(upload)
        download.wait(ready)
        device.copy_out(target, memory, NBYTES, download)
        download.synchronize()
        np.testing.assert_array_equal(target.array, source.array)
        source.free()
    for owned in (upload, download, ready, memory, target):
        owned.free()


def test_timed_events_tell_the_devices_time(device):
    stream, memory, source = device.stream(), device.allocate(NBYTES), filled(device, 3)
    before, after = device.event(timed=True), device.event(timed=True)
    before.record(stream)
    for _ in range(50):
        device.copy_in(memory, source, NBYTES, stream)
    after.record(stream)
    after.synchronize()
    assert after.elapsed_ms(before) > 0
    for owned in (stream, memory, source, before, after):
        owned.free()


def test_captured_work_runs_when_it_is_launched_and_not_before(device):
    if not device.captures_graphs:
        missing("cuda-bindings is not installed")
    stream, memory = device.stream(), device.allocate(NBYTES)
    source, target = filled(device, 5), device.pinned(NBYTES)
    target.array[:] = 0

    def work():
        device.copy_in(memory, source, NBYTES, stream)
        device.copy_out(target, memory, NBYTES, stream)

    graph = device.capture(stream, work)
    stream.synchronize()
    assert not target.array.any()
    for seed in range(3):
        random = np.random.default_rng(seed)
        source.array[:] = random.integers(0, 256, NBYTES, dtype=np.uint8)
        graph.launch(stream)
        stream.synchronize()
        np.testing.assert_array_equal(target.array, source.array)
    for owned in (graph, stream, memory, source, target):
        owned.free()


def test_a_capture_that_breaks_leaves_a_stream_that_works(device):
    if not device.captures_graphs:
        missing("cuda-bindings is not installed")
    stream, memory = device.stream(), device.allocate(NBYTES)
    source, target = filled(device, 6), device.pinned(NBYTES)

    def breaks():
        device.copy_in(memory, source, NBYTES, stream)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        device.capture(stream, breaks)
    device.copy_in(memory, source, NBYTES, stream)
    device.copy_out(target, memory, NBYTES, stream)
    stream.synchronize()
    np.testing.assert_array_equal(target.array, source.array)
    for owned in (stream, memory, source, target):
        owned.free()


def test_too_much_memory_is_refused_and_the_device_lives(device):
    with pytest.raises(BackendError) as caught:
        device.allocate(device.memory().total_bytes * 2)
    assert caught.value.reason is Reason.DEVICE_OUT_OF_MEMORY
    device.allocate(NBYTES).free()
    device.check()


def test_memory_that_is_freed_is_there_again(device):
    device.allocate(NBYTES).free()
    before = device.memory().free_bytes
    for _ in range(10_000):
        device.allocate(NBYTES).free()
        device.pinned(4096).free()
    assert device.memory().free_bytes == before


KILL = """
import numpy
import pycuda.driver
from pycuda.compiler import SourceModule
from spinert.runtime.device.pycuda import open_pycuda_device
from spinert.runtime.errors import DeviceLost

device = open_pycuda_device()
with device.current():
    kernel = SourceModule("__global__ void kill(int *p) { *p = 1; }")
    kernel.get_function("kill")(numpy.uint64(64), block=(1, 1, 1), grid=(1, 1))
    for call in (device.check, device.memory, lambda: device.allocate(1)):
        try:
            call()
        except DeviceLost as error:
            print(error.reason)
device.close()
"""


def test_an_illegal_address_ends_the_device_for_the_process(gpu):
    if find_spec("pycuda") is None:
        missing("PyCUDA is not installed")
    if shutil.which("nvcc") is None:
        missing("nvcc is not installed")
    ran = subprocess.run(
        [sys.executable, "-c", KILL], capture_output=True, text=True, check=False
    )
    assert ran.stdout.split() == ["DEVICE_LOST"] * 3, ran.stderr
