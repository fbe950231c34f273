"""The compiled CUDA kernels: there where nvcc is, and complete."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from support.emulated_kernels import KERNELS

from spinert.runtime import _native
from spinert.runtime.device_input.kernels import Kernels, fatbin


@pytest.fixture(scope="module")
def content():
    if not fatbin().exists():
        pytest.skip("spinert was installed where no nvcc was")
    return fatbin().read_bytes()


class NamedModule:
    """Notes which kernels are asked for."""

    def __init__(self):
        self.names = []

    def kernel(self, name, kinds):
        self.names.append(name)

    def free(self):
        pass


def test_the_file_is_beside_the_native_module():
    assert fatbin().parent == Path(_native.__file__).parent


def entries(content):
    """Yield (kind, sm) of each program: 1 is PTX, 2 machine code.

    As nvcc 12 and 13 write it; NVIDIA documents no format.
    """
    magic, _, at, size = struct.unpack_from("<IHHQ", content)
    assert magic == 0xBA55ED50
    assert len(content) == at + size
    while at < len(content):
        kind, _, header, length = struct.unpack_from("<HHIQ", content, at)
        yield kind, struct.unpack_from("<I", content, at + 28)[0]
        at += header + length


def test_there_is_code_for_every_gpu_since_turing(content):
    found = list(entries(content))
    native = {sm for kind, sm in found if kind == 2}
    assert native >= {75, 80, 86, 87, 89, 90}
    # PTX of the oldest serves those that are not listed, and those to come.
    assert [sm for kind, sm in found if kind == 1] == [min(native)]


def test_every_kernel_that_is_asked_for_was_compiled(content):
    module = NamedModule()
    Kernels(module)
    assert len(module.names) == 6
    for name in module.names:
        assert name.encode() in content


def test_the_compiled_kernels_take_what_they_are_given(tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    options = ["-std=c++17", "--Werror", "all-warnings", "-Xcompiler=-Wall,-Wextra"]
    source = KERNELS / "preprocess.cu"
    subprocess.run(
        [nvcc, "-ptx", *options, "-o", tmp_path / "kernels.ptx", source], check=True
    )
    compiled = (tmp_path / "kernels.ptx").read_text()
    parameters = {
        name: [{"u64": "P", "u32": "i"}[kind] for kind in found]
        for name, found in signatures(compiled)
    }
    asked = {}

    class Asked(NamedModule):
        def kernel(self, name, kinds):
            asked[name] = list(kinds.replace("q", "P"))

    Kernels(Asked())
    assert parameters == asked


def signatures(ptx):
    for entry in re.findall(r"\.entry (\w+)\(([^)]*)\)", ptx):
        yield entry[0], re.findall(r"\.param \.(?:align \d+ )?\.?(u\d+)", entry[1])
