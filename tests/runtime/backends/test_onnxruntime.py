from __future__ import annotations

import builtins
import logging

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.bundles import tiny_spec
from support.graphs import classifier, detector, image_input, onnx_bundle

from spinert.runtime import backends
from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.onnxruntime import OnnxRuntimeBackend
from spinert.runtime.config import BackendSettings, Settings
from spinert.runtime.engine.opening import opened_backend
from spinert.runtime.errors import BackendError, BackendUnavailable, Reason

SPEC = tiny_spec()
SETTINGS = Settings(backend=BackendSettings(threads=1))


@pytest.fixture
def backend():
    backend = OnnxRuntimeBackend(BackendOptions(threads=1))
    yield backend
    backend.close()


def saved(tmp_path, model):
    path = tmp_path / "network.onnx"
    onnx.save(model, path)
    return path


def refused(backend, tmp_path, model, role="classifier"):
    with pytest.raises(BackendUnavailable) as caught:
        backend.load(role, saved(tmp_path, model), SPEC.networks[role])
    assert caught.value.reason is Reason.BACKEND_UNAVAILABLE
    return caught.value.message


def image(batch=1, height=32, width=32):
    random = np.random.default_rng(0)
    return random.integers(0, 256, (batch, 1, height, width), dtype=np.uint8)


def test_networks_run_with_any_batch_and_size(backend, tmp_path):
    backend.load(
        "classifier", saved(tmp_path, classifier()), SPEC.networks["classifier"]
    )
    backend.load("detector", saved(tmp_path, detector()), SPEC.networks["detector"])
    for batch in (1, 3):
        outputs = backend.run("classifier", {"image": image(batch)})
        assert outputs["logits"].shape == (batch, 2)
        assert outputs["logits"].dtype == np.float32
        for height, width in ((64, 96), (96, 32)):
            inputs = {
                "image": image(batch, height, width),
                "image_size": np.tile(np.array([height, width], np.int32), (batch, 1)),
            }
            outputs = backend.run("detector", inputs)
            assert outputs["boxes"].shape == (batch, 8, 4)
            assert outputs["scores"].shape == (batch, 8)
            assert outputs["labels"].dtype == np.int64


def test_the_same_input_gives_the_same_bits(tmp_path):
    inputs = {"image": image(4)}
    seen = set()
    for _ in range(3):
        backend = OnnxRuntimeBackend(BackendOptions(threads=2))
        backend.load(
            "classifier", saved(tmp_path, classifier()), SPEC.networks["classifier"]
        )
        seen |= {
            backend.run("classifier", inputs)["logits"].tobytes() for _ in range(3)
        }
        backend.close()
    assert len(seen) == 1


def test_the_backend_says_what_it_is(backend):
    import onnxruntime

    capabilities = backend.capabilities
    assert (capabilities.name, capabilities.device) == ("onnxruntime", "cpu")
    assert capabilities.version == onnxruntime.__version__
    assert capabilities.precision == "fp32"
    assert capabilities.operators == ("*",)
    assert capabilities.concurrent_networks
    assert OnnxRuntimeBackend(BackendOptions(threads=3)).capabilities.threads == 3


def test_it_runs_the_precision_that_is_configured():
    backend = OnnxRuntimeBackend(BackendOptions(precision="fp16"))
    assert backend.capabilities.precision == "fp16"


def test_idle_threads_sleep_and_only_as_many_are_made_as_told():
    options = OnnxRuntimeBackend(BackendOptions(threads=3))._options()
    assert options.intra_op_num_threads == 3
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.get_session_config_entry("session.inter_op.allow_spinning") == "0"


def test_zero_threads_means_every_core_this_process_may_use(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {1, 4, 7})
    backend = OnnxRuntimeBackend(BackendOptions())
    assert backend._options().intra_op_num_threads == 3
    assert backend.capabilities.threads == 3


def test_a_missing_package_names_the_extra_to_install(monkeypatch):
    real_import = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "onnxruntime":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BackendUnavailable, match=r"spinert\[cpu\]"):
        OnnxRuntimeBackend(BackendOptions())


# ---------------------------------------------------------- what a graph must be


def test_as_many_logits_as_members(backend, tmp_path):
    message = refused(backend, tmp_path, classifier(members=3))
    assert "'logits'" in message
    assert "float32[?, 3]" in message
    assert "float32[?, 2]" in message


def test_as_many_candidates_as_declared(backend, tmp_path):
    assert "'boxes'" in refused(backend, tmp_path, detector(9), "detector")


def test_the_right_network_for_the_role(backend, tmp_path):
    message = refused(backend, tmp_path, classifier(), "detector")
    assert "input 'image_size' is missing" in message


def test_no_unknown_output(backend, tmp_path):
    model = classifier()
    model.graph.output.append(
        helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["N", 16])
    )
    assert "output 'pooled' is not known" in refused(backend, tmp_path, model)


@pytest.mark.parametrize(
    ("replacement", "found"),
    [
        (image_input(32, 32, dtype=TensorProto.FLOAT), "float32[?, 1, 32, 32]"),
        (image_input(64, 32), "uint8[?, 1, 64, 32]"),
    ],
)
def test_the_image_input_is_the_bundles(backend, tmp_path, replacement, found):
    model = classifier()
    model.graph.input[0].CopyFrom(replacement)
    assert found in refused(backend, tmp_path, model)


def test_the_batch_is_dynamic(backend, tmp_path):
    model = classifier()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    assert "uint8[1, 1, 32, 32]" in refused(backend, tmp_path, model)


# ------------------------------------------------------------------- bad files


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


@pytest.mark.parametrize("content", [b"", b"fake", b"\xff" * 100])
def test_what_is_not_onnx_is_refused(backend, tmp_path, content):
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    with pytest.raises(BackendUnavailable, match=r"network\.onnx"):
        backend.load("classifier", path, SPEC.networks["classifier"])


def test_a_graph_onnxruntime_cannot_load_is_refused_without_its_words(
    backend, tmp_path, caplog
):
    model = classifier()
    model.graph.node[3].op_type = "NoSuchOperator"
    with caplog.at_level(logging.ERROR):
        message = refused(backend, tmp_path, model)
    assert "'classifier'" in message
    assert "NoSuchOperator" not in message
    (record,) = caplog.records
    assert "NoSuchOperator" in record.getMessage(), "the log says why"
    assert record.exc_info is None


def test_a_network_that_fails_is_a_typed_error(backend, tmp_path, caplog):
    backend.load(
        "classifier", saved(tmp_path, classifier()), SPEC.networks["classifier"]
    )
    with caplog.at_level(logging.CRITICAL), pytest.raises(BackendError) as caught:
        backend.run("classifier", {"image": image(height=31)})
    assert caught.value.reason is Reason.NETWORK_FAILED
    assert backend.run("classifier", {"image": image()})["logits"].shape == (1, 2)


def test_a_network_that_was_not_loaded_is_a_typed_error(backend):
    with pytest.raises(BackendError, match="not loaded"):
        backend.run("classifier", {"image": image()})


# --------------------------------------------------------------------- opening


def test_opening_loads_every_network_of_a_bundle_and_closes_them(tmp_path):
    bundle = onnx_bundle(tmp_path)
    with opened_backend(bundle, SETTINGS) as backend:
        assert backend.run("classifier", {"image": image()})["logits"].shape == (1, 2)
    with pytest.raises(BackendError):
        backend.run("classifier", {"image": image()})


def test_opening_a_bundle_whose_networks_cannot_load_is_an_error(tmp_path):
    spec = tiny_spec()
    spec.networks["classifier"].members.append("third")
    bundle = onnx_bundle(tmp_path, spec)
    with (
        pytest.raises(BackendUnavailable, match="logits"),
        opened_backend(bundle, SETTINGS),
    ):
        pytest.fail("it was opened")


def test_an_unknown_backend_names_the_choices(tmp_path):
    with pytest.raises(BackendUnavailable, match="fake, onnxruntime"):
        backends.load("tensort", BackendOptions())


@pytest.mark.parametrize("name", sorted(backends.BACKENDS))
def test_every_backend_of_the_table_exists(name, tmp_path):
    options = BackendOptions(threads=1, cache_dir=tmp_path)
    try:
        backend = backends.load(name, options)
    except BackendUnavailable as error:
        # What it runs on is not here; that it says so is what can be seen.
        assert name not in ("fake", "onnxruntime")
        pytest.skip(error.message)
    assert backend.capabilities.name == name
    backend.close()
    backend.close()


def test_a_status_output_is_optional(backend, tmp_path):
    model = detector()
    graph = model.graph
    graph.node.append(helper.make_node("Gather", ["image_size", "zero64"], ["first"]))
    graph.node[-1].attribute.append(helper.make_attribute("axis", 1))
    graph.node.append(helper.make_node("Sub", ["first", "first"], ["status"]))
    graph.initializer.append(helper.make_tensor("zero64", TensorProto.INT64, [], [0]))
    graph.output.append(helper.make_tensor_value_info("status", TensorProto.INT32, "N"))
    backend.load("detector", saved(tmp_path, model), SPEC.networks["detector"])
    inputs = {"image": image(2, 64, 64), "image_size": np.full((2, 2), 64, np.int32)}
    assert backend.run("detector", inputs)["status"].tolist() == [0, 0]
