"""OpenVINO: the same graphs, in the precision that is told and no other."""

from __future__ import annotations

import builtins
import logging
import subprocess
import sys
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from support.bundles import tiny_spec
from support.graphs import classifier, detector, onnx_bundle

from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.onnxruntime import OnnxRuntimeBackend
from spinert.runtime.config import BackendSettings, Settings
from spinert.runtime.engine.opening import opened_backend
from spinert.runtime.errors import BackendError, BackendUnavailable, ConfigError

openvino = pytest.importorskip("openvino")
from spinert.runtime.backends.openvino import (  # noqa: E402
    OpenVinoBackend,
    layer_times_from_nodes,
)

SPEC = tiny_spec()


@pytest.fixture
def backend():
    backend = OpenVinoBackend(BackendOptions(threads=1))
    yield backend
    backend.close()


def saved(tmp_path, model, name="network.onnx"):
    path = tmp_path / name
    onnx.save(model, path)
    return path


def feeds(batch=1, height=64, width=96, seed=0):
    random = np.random.default_rng(seed)
    return {
        "image": random.integers(0, 256, (batch, 1, height, width), dtype=np.uint8),
        "image_size": np.tile(np.array([height, width], np.int32), (batch, 1)),
    }


def test_it_answers_as_onnx_runtime_does_for_any_batch_and_size(backend, tmp_path):
    reference = OnnxRuntimeBackend(BackendOptions(threads=1))
    path = saved(tmp_path, detector())
    for each in (backend, reference):
        each.load("detector", path, SPEC.networks["detector"])
    for batch, height, width in ((1, 64, 96), (3, 96, 32), (2, 64, 96)):
        inputs = feeds(batch, height, width)
        ours, theirs = (
            backend.run("detector", inputs),
            reference.run("detector", inputs),
        )
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name].dtype == value.dtype
            np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-4)
    reference.close()


def test_an_answer_stays_what_it_is_when_the_next_batch_is_computed(backend, tmp_path):
    backend.load("detector", saved(tmp_path, detector()), SPEC.networks["detector"])
    first = backend.run("detector", feeds(seed=1))
    before = {name: value.copy() for name, value in first.items()}
    other = backend.run("detector", feeds(seed=2))
    assert not np.array_equal(other["boxes"], before["boxes"])
    for name, value in before.items():
        np.testing.assert_array_equal(first[name], value)


def test_the_backend_says_what_it_is(backend):
    told = backend.capabilities
    assert (told.name, told.device, told.precision) == ("openvino", "cpu", "fp32")
    assert told.version == openvino.__version__.split("-")[0]
    assert told.threads == 1


SIGNALLED = """
import signal
from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.openvino import OpenVinoBackend

signal.signal(signal.SIGTERM, lambda *_: print("heard"))
first = OpenVinoBackend(BackendOptions(threads=1))
second = OpenVinoBackend(BackendOptions(threads=1))
for backend in (first, second):
    backend.close()
del first, second, backend
signal.raise_signal(signal.SIGTERM)
"""


def test_a_signal_is_heard_after_backends_have_come_and_gone():
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", SIGNALLED],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr[-2000:]


def test_float32_is_told_where_the_processor_would_choose_bfloat16(backend):
    assert backend._properties()["INFERENCE_PRECISION_HINT"] == "f32"


def test_bfloat16_is_computed_where_the_processor_can_and_refused_elsewhere(tmp_path):
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    options = BackendOptions(threads=1, precision="bf16")
    if "BF16" not in able:
        with pytest.raises(BackendUnavailable, match='precision = "fp32"'):
            OpenVinoBackend(options)
        return
    backend = OpenVinoBackend(options)
    assert backend.capabilities.precision == "bf16"
    path = saved(tmp_path, classifier())
    backend.load("classifier", path, SPEC.networks["classifier"])
    inputs = {"image": feeds(height=32, width=32)["image"]}
    assert backend.run("classifier", inputs)["logits"].dtype == np.float32
    backend.close()


def test_float16_is_refused_because_a_cpu_computes_it_otherwise():
    with pytest.raises(BackendUnavailable, match='"fp32" or "bf16"'):
        OpenVinoBackend(BackendOptions(precision="fp16"))


def test_no_other_backend_is_told_to_compute_bfloat16():
    with pytest.raises(ConfigError, match='only the backend "openvino"'):
        BackendSettings(precision="bf16")
    assert BackendSettings(name="openvino", precision="bf16").precision == "bf16"


def test_a_missing_package_names_the_extra_to_install(monkeypatch):
    real_import = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "openvino":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BackendUnavailable, match=r"spinert\[openvino\]"):
        OpenVinoBackend(BackendOptions())


def test_a_graph_that_is_not_the_network_is_refused(backend, tmp_path):
    with pytest.raises(BackendUnavailable, match=r"'logits'.*float32\[\?, 2\]"):
        backend.load(
            "classifier",
            saved(tmp_path, classifier(members=3)),
            SPEC.networks["classifier"],
        )


def test_a_graph_it_cannot_load_is_refused_without_its_words(backend, tmp_path, caplog):
    model = classifier()
    model.graph.node[3].op_type = "NoSuchOperator"
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(BackendUnavailable, match="'classifier'") as caught,
    ):
        backend.load("classifier", saved(tmp_path, model), SPEC.networks["classifier"])
    assert "NoSuchOperator" not in caught.value.message
    (record,) = caplog.records
    assert "NoSuchOperator" in record.getMessage(), "the log says why"
    assert record.exc_info is None


def test_tensors_in_other_files_are_refused_before_anything_is_read(backend, tmp_path):
    path = tmp_path / "network.onnx"
    onnx.save(
        classifier(),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    with pytest.raises(BackendUnavailable, match="one file"):
        backend.load("classifier", path, SPEC.networks["classifier"])


def test_a_network_that_fails_is_a_typed_error(backend, tmp_path, caplog):
    path = saved(tmp_path, classifier())
    backend.load("classifier", path, SPEC.networks["classifier"])
    with caplog.at_level(logging.CRITICAL), pytest.raises(BackendError):
        backend.run("classifier", {"image": feeds(height=31)["image"]})
    good = {"image": feeds(height=32, width=32)["image"]}
    assert backend.run("classifier", good)["logits"].shape == (1, 2)


def test_a_network_that_was_not_loaded_is_a_typed_error(backend):
    with pytest.raises(BackendError, match="not loaded"):
        backend.run("classifier", feeds())


def test_opening_a_bundle_loads_every_network(tmp_path):
    settings = Settings(backend=BackendSettings(name="openvino", threads=1))
    with opened_backend(onnx_bundle(tmp_path), settings) as backend:
        inputs = {"image": feeds(height=32, width=32)["image"]}
        assert backend.run("classifier", inputs)["logits"].shape == (1, 2)


def node(kind, took_us, executed=True):
    """Return what OpenVINO tells of a node: its mean over all runs so far."""
    status = openvino.ProfilingInfo.Status
    return SimpleNamespace(
        node_type=kind,
        real_time=timedelta(microseconds=took_us),
        status=status.EXECUTED if executed else status.NOT_RUN,
        Status=status,
    )


def test_the_first_run_of_a_profile_is_taken_out_of_the_mean():
    first = [node("Convolution", 1000), node("Convolution", 60), node("Relu", 0, False)]
    # Four more runs of 100 and 40 microseconds.
    all_runs = [
        node("Convolution", (1000 + 4 * 100) // 5),
        node("Convolution", (60 + 4 * 40) // 5),
        node("Relu", 0, False),
    ]
    (convolutions,) = layer_times_from_nodes(first, all_runs, 4)
    assert (convolutions.name, convolutions.count) == ("Convolution", 2)
    assert convolutions.duration_ms == pytest.approx(0.14)


def test_a_node_shorter_than_its_rounding_takes_no_time_and_no_less():
    (layer,) = layer_times_from_nodes([node("Reorder", 9)], [node("Reorder", 1)], 2)
    assert layer.duration_ms == 0
