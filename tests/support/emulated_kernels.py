"""The CUDA kernels compiled for the CPU: the same source, thread after thread."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "tests" / "native" / "emulated_kernels.cpp"
KERNELS = ROOT / "runtime" / "native" / "cuda"
_TYPES = {"P": ctypes.c_void_p, "i": ctypes.c_int32, "q": ctypes.c_int64}
# What the sanitizer finds ends the process, and with it the test.
_OPTIONS = (
    *("-std=c++17", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Wconversion"),
    *("-Werror", "-fsanitize=undefined", "-fno-sanitize-recover=all"),
)


@cache
def library() -> ctypes.CDLL:
    """Compile the kernels, once for this process."""
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "kernels.so"
        command = ["g++", *_OPTIONS, f"-I{KERNELS}", "-o", str(compiled), str(SOURCE)]
        subprocess.run(command, check=True)
        loaded = ctypes.CDLL(str(compiled))
    loaded.emulated_launch.restype = ctypes.c_bool
    return loaded


def emulated_launch(
    name: str,
    grid: tuple[int, int],
    block: tuple[int, int],
    kinds: str,
    values: Sequence[int],
) -> bool:
    """Run a kernel; False if it takes no parameters of such kinds."""
    arguments = [_TYPES[kind](value) for kind, value in zip(kinds, values, strict=True)]
    where = (ctypes.c_void_p * len(arguments))(
        *(ctypes.addressof(argument) for argument in arguments)
    )
    sizes = (ctypes.c_size_t * len(arguments))(
        *(ctypes.sizeof(argument) for argument in arguments)
    )
    pair = ctypes.c_uint32 * 2
    count = ctypes.c_size_t(len(arguments))
    launch = library().emulated_launch
    return bool(launch(name.encode(), pair(*grid), pair(*block), where, sizes, count))
