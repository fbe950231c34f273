"""Layers that CPU backends time: in runs beside those that serve."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.bundles import tiny_spec
from support.graphs import classifier

from spinert.runtime import backends
from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.fake import FakeBackend
from spinert.runtime.backends.onnxruntime_cuda import CudaBackend
from spinert.runtime.backends.profiled import ProfiledBackend
from spinert.runtime.backends.tensorrt import TensorRtBackend
from spinert.runtime.errors import BackendError

NETWORK = tiny_spec().networks["classifier"]


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request, tmp_path):
    pytest.importorskip(request.param)
    path = tmp_path / "classifier.onnx"
    onnx.save(classifier(), path)
    backend = backends.load(request.param, BackendOptions(threads=1))
    backend.load("classifier", path, NETWORK)
    yield backend
    backend.close()


def inputs(batch=2, edge=32):
    random = np.random.default_rng(0)
    return {"image": random.integers(0, 256, (batch, 1, edge, edge), dtype=np.uint8)}


def test_layers_are_named_counted_and_timed(backend):
    assert isinstance(backend, ProfiledBackend)
    times = backend.layer_times("classifier", inputs(), 3)
    names = [layer.name for layer in times]
    assert len(set(names)) == len(names) > 1
    # The same operator, as each of them calls it.
    assert {"Conv", "Convolution"} & set(names)
    for layer in times:
        assert 1 <= layer.count < 20
        assert 0 <= layer.duration_ms < 1000
    assert sum(layer.duration_ms for layer in times) > 0


def test_more_runs_are_a_mean_and_no_sum(backend):
    for runs in (1, 9):
        times = backend.layer_times("classifier", inputs(), runs)
        (convolutions,) = (t for t in times if t.name in ("Conv", "Convolution"))
        assert convolutions.count == 2


def test_what_serves_goes_on_without_a_profile(backend, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = backend.run("classifier", inputs())["logits"]
    files = sorted(tmp_path.iterdir())
    backend.layer_times("classifier", inputs(), 2)
    np.testing.assert_array_equal(before, backend.run("classifier", inputs())["logits"])
    assert sorted(tmp_path.iterdir()) == files
    assert not list(Path().glob("onnxruntime_profile*"))


def test_what_cannot_be_run_cannot_be_profiled(backend, caplog):
    with pytest.raises(BackendError, match="not loaded"):
        backend.layer_times("detector", inputs(), 1)
    with caplog.at_level(logging.CRITICAL), pytest.raises(BackendError):
        backend.layer_times("classifier", inputs(edge=31), 1)


def test_each_backend_says_whether_it_can_time_its_layers():
    assert issubclass(TensorRtBackend, ProfiledBackend)
    # What CUDA computes later is not what a node of its provider takes.
    assert not issubclass(CudaBackend, ProfiledBackend)
    assert not issubclass(FakeBackend, ProfiledBackend)
