"""The installed package is spinert and nothing else."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution


def test_only_spinert_is_importable(tmp_path):
    strays = ["runtime", "export", "proto", "spinert.benchmarks", "spinert.tests"]
    probe = f"from importlib.util import find_spec as f; print(*filter(f, {strays}))"
    found = subprocess.check_output([sys.executable, "-c", probe], cwd=tmp_path)
    assert found.split() == []


def test_the_command_is_installed():
    names = {entry.name for entry in distribution("spinert").entry_points}
    assert "spinert" in names


def test_the_base_package_has_no_onnx_runtime_and_the_extras_bring_one_each():
    wanted = distribution("spinert").requires
    runtimes = {r for r in wanted if r.startswith("onnxruntime")}
    assert {r.split(";")[1].strip() for r in runtimes} == {
        "extra == 'cpu'",
        "extra == 'cuda'",
    } or {r.split(";")[1].strip() for r in runtimes} == {
        'extra == "cpu"',
        'extra == "cuda"',
    }
