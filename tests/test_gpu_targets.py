"""`make gpu-test` and `make gpu-bench` where there is no GPU: they fail and say so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.gpus import MODULES, REQUIRED, missing, require_open

from spinert.runtime.compiled.gpu import Gpu

ROOT = Path(__file__).parents[1]
# The driver shows no device, whatever the machine has; and this is not a part of the
# make that runs the tests.
NO_GPU = {
    name: value
    for name, value in os.environ.items()
    if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
} | {"CUDA_VISIBLE_DEVICES": ""}
HERE = Gpu(name="some GPU", sm="90", uuid="", driver="13.0")


def made(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *words],
        cwd=ROOT,
        env=NO_GPU,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_gpu_the_targets_fail_in_one_line():
    done = made("gpu")
    assert done.returncode != 0
    assert done.stdout.splitlines() == [
        "no NVIDIA GPU with a driver on this machine (nvidia-smi shows them): nothing "
        "was run"
    ]


@pytest.mark.parametrize("target", ["gpu-test", "gpu-bench"])
def test_the_gpu_is_looked_for_before_anything_is_installed(target):
    lines = made("--dry-run", "--always-make", target).stdout.splitlines()
    looks = [i for i, line in enumerate(lines) if "libcuda.so.1" in line]
    installs = [i for i, line in enumerate(lines) if "venv" in line]
    assert len(looks) == 1
    assert looks[0] < min(installs)
    assert not any(".venv/" in line for line in lines)


def test_tests_of_a_gpu_have_to_run():
    *_, last = made("--dry-run", "gpu-test").stdout.splitlines()
    assert last.startswith(f"{REQUIRED}=1 ")
    assert last.endswith("-m pytest -m gpu tests/gpu")


def test_what_ci_runs_needs_no_gpu():
    assert "gpu" not in (ROOT / ".ci" / "run").read_text()


def test_without_a_gpu_a_test_that_needs_one_fails_where_it_is_required():
    test = "test_too_much_memory_is_refused_and_the_device_lives"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"tests/gpu/test_device.py::{test}"],
        cwd=ROOT,
        env=NO_GPU | {REQUIRED: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "1 error" in done.stdout


@pytest.fixture
def required(monkeypatch):
    monkeypatch.setenv(REQUIRED, "1")


def test_what_is_missing_skips_unless_it_is_required(monkeypatch):
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no nvcc"):
        missing("no nvcc")
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="no nvcc"):
        missing("no nvcc")


def test_a_backend_that_opens_is_tested(required):
    require_open("onnxruntime-cuda", {"tensorrt": "not installed"}, HERE)


def test_at_least_one_backend_has_to_open(required):
    closed = {name: f"{name} fails" for name in MODULES}
    for name in MODULES:
        with pytest.raises(pytest.fail.Exception, match="no backend runs on this GPU"):
            require_open(name, closed, HERE)


def test_a_backend_that_is_installed_for_this_gpu_has_to_open(required):
    closed = {"onnxruntime-cuda": "has no CUDAExecutionProvider"}
    with pytest.raises(pytest.fail.Exception, match="no CUDAExecutionProvider"):
        require_open("onnxruntime-cuda", closed, HERE)


def test_a_gpu_that_tensorrt_rtx_does_not_know_is_no_failure(required):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    closed = {"tensorrt-rtx": "does not compile for sm_90"}
    with pytest.raises(pytest.skip.Exception, match="sm_90"):
        require_open("tensorrt-rtx", closed, HERE)
    ada = Gpu(name="another", sm="89", uuid="", driver="13.0")
    with pytest.raises(pytest.fail.Exception):
        require_open("tensorrt-rtx", closed, ada)
