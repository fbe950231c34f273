"""The GPU, as the CUDA driver tells of it."""

from __future__ import annotations

import pytest

from spinert.runtime.compiled import gpu
from spinert.runtime.compiled.gpu import gpu_of_this_machine
from spinert.runtime.errors import BackendUnavailable

RELEASE = """NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)
"""


class FakeDriver:
    """The driver functions asked for; `failing` returns an error."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing

    def __getattr__(self, name):
        def call(*arguments):
            if name == self.failing:
                return 100
            getattr(self, f"_{name}")(*arguments)
            return 0

        return call

    def _cuInit(self, flags):
        assert flags == 0

    def _cuDeviceGet(self, device, index):
        device._obj.value = index + 7

    def _cuDeviceGetName(self, buffer, size, device):
        assert (size, device.value) == (256, 7)
        buffer.value = b"NVIDIA RTX A2000"

    def _cuDeviceGetUuid(self, identity, device):
        identity._obj[:] = range(16)

    def _cuDriverGetVersion(self, version):
        version._obj.value = 12080

    def _cuDeviceGetAttribute(self, value, attribute, device):
        value._obj.value = {75: 8, 76: 6}[attribute]


def test_a_gpu_is_described_by_what_an_engine_depends_on(tmp_path):
    module = tmp_path / "version"
    module.write_text(RELEASE)
    found = gpu_of_this_machine(library=FakeDriver(), kernel_module=module)
    assert found.name == "NVIDIA RTX A2000"
    assert found.sm == "86"
    assert found.uuid == "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert found.driver == "12.8 (580.65.06)"


@pytest.mark.parametrize("text", [None, "", "something else\n"])
def test_without_a_stated_release_the_cuda_version_stands_alone(text, tmp_path):
    module = tmp_path / "version"
    if text is not None:
        module.write_text(text)
    found = gpu_of_this_machine(library=FakeDriver(), kernel_module=module)
    assert found.driver == "12.8"


@pytest.mark.parametrize(
    "function", ["cuInit", "cuDeviceGet", "cuDeviceGetAttribute", "cuDriverGetVersion"]
)
def test_a_driver_that_fails_is_named(function):
    with pytest.raises(BackendUnavailable, match=f"{function} .* error 100"):
        gpu_of_this_machine(library=FakeDriver(failing=function))


@pytest.mark.parametrize(
    "way_out", ['backend "onnxruntime"', "spinert build --target tensorrt-rtx --sm"]
)
def test_a_machine_without_a_driver_is_told_how_to_serve_and_build_all_the_same(
    way_out, monkeypatch
):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(gpu.ctypes, "CDLL", missing)
    with pytest.raises(BackendUnavailable, match=way_out):
        gpu_of_this_machine()
