from __future__ import annotations

import gc
import logging
import weakref

import numpy as np
import onnx
import pytest
from support.bundles import tiny_spec
from support.fake_device import GPU, sticky_codes
from support.fake_ort_cuda import CUDA, CudaOrt
from support.graphs import classifier, detector

from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends import onnxruntime_cuda as module
from spinert.runtime.backends.onnxruntime import OnnxRuntimeBackend
from spinert.runtime.backends.onnxruntime_cuda import CudaBackend
from spinert.runtime.errors import BackendError, BackendUnavailable, DeviceLost, Reason

SPEC = tiny_spec()


@pytest.fixture
def ort(monkeypatch):
    ort = CudaOrt()
    monkeypatch.setattr(module, "import_module", lambda name: ort)
    monkeypatch.setattr(module, "gpu_of_this_machine", lambda index: GPU)
    return ort


@pytest.fixture
def files(tmp_path):
    paths = {}
    for role, model in (("classifier", classifier()), ("detector", detector())):
        paths[role] = tmp_path / f"{role}.onnx"
        onnx.save(model, paths[role])
    return paths


@pytest.fixture
def backend(ort, files):
    backend = CudaBackend(BackendOptions())
    for role, path in files.items():
        backend.load(role, path, SPEC.networks[role])
    yield backend
    backend.close()


def image(batch=1, height=32, width=32, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (batch, 1, height, width), dtype=np.uint8)


def detector_inputs(batch, height, width, seed=0):
    sizes = np.tile(np.array([height, width], np.int32), (batch, 1))
    return {"image": image(batch, height, width, seed), "image_size": sizes}


def test_it_answers_like_the_cpu_at_every_shape(backend, files):
    cpu = OnnxRuntimeBackend(BackendOptions(threads=1))
    for role, path in files.items():
        cpu.load(role, path, SPEC.networks[role])
    for seed in range(2):
        for batch in (1, 3):
            inputs = {"image": image(batch, seed=seed)}
            np.testing.assert_array_equal(
                backend.run("classifier", inputs)["logits"],
                cpu.run("classifier", inputs)["logits"],
            )
            for size in ((64, 96), (96, 64)):
                inputs = detector_inputs(batch, *size, seed)
                outputs = backend.run("detector", inputs)
                for name, array in cpu.run("detector", inputs).items():
                    np.testing.assert_array_equal(outputs[name], array)
    cpu.close()


def test_outputs_belong_to_the_caller(backend):
    first = backend.run("classifier", {"image": image(2, seed=1)})["logits"]
    kept = first.copy()
    backend.run("classifier", {"image": image(2, seed=2)})
    np.testing.assert_array_equal(first, kept)


def test_inputs_go_to_buffers_that_stay_on_the_gpu(backend, ort):
    for seed in range(5):
        backend.run("classifier", {"image": image(2, seed=seed)})
    assert len(ort.values) == 1
    backend.run("classifier", {"image": image(3)})
    assert len(ort.values) == 2


def test_the_buffers_of_shapes_not_seen_for_long_are_given_back(
    backend, ort, monkeypatch
):
    monkeypatch.setattr(module, "_MAX_BINDINGS", 2)
    for batch in (1, 2, 3, 4):
        backend.run("classifier", {"image": image(batch)})
    kept = [weakref.ref(value) for value in ort.values]
    ort.values.clear()
    gc.collect()
    assert [value() is not None for value in kept] == [False, False, True, True]


def test_it_says_what_it_is(backend, ort):
    capabilities = backend.capabilities
    assert capabilities.name == "onnxruntime-cuda"
    assert capabilities.version == ort.__version__
    assert capabilities.precision == "fp16"
    assert capabilities.device == "Fake GPU (sm_86), driver 13.0"
    assert capabilities.operators == ("*",)


def test_the_precision_can_be_chosen(ort):
    backend = CudaBackend(BackendOptions(precision="fp32"))
    assert backend.capabilities.precision == "fp32"


def test_convolutions_are_not_chosen_by_measuring_and_not_rounded_to_tf32(backend, ort):
    for _, providers in ort.asked:
        ((name, options),) = providers
        assert name == CUDA
        assert options["cudnn_conv_algo_search"] == "HEURISTIC"
        assert options["use_tf32"] == "0"


# ----------------------------------------------------------------- no silent fallback


def test_without_the_provider_the_extra_is_named(ort):
    ort.providers = ["CPUExecutionProvider"]
    with pytest.raises(BackendUnavailable, match=r"spinert\[cuda\]"):
        CudaBackend(BackendOptions())


def test_without_the_package_the_extra_is_named(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(module, "import_module", missing)
    with pytest.raises(BackendUnavailable, match=r"spinert\[cuda\]"):
        CudaBackend(BackendOptions())


def test_a_provider_that_was_dropped_is_an_error(ort, files):
    ort.used = ["CPUExecutionProvider"]
    backend = CudaBackend(BackendOptions())
    with pytest.raises(BackendUnavailable, match="cannot use the GPU"):
        backend.load("classifier", files["classifier"], SPEC.networks["classifier"])


def test_work_on_the_host_is_an_error(ort, files):
    ort.on_host = ("Conv", "Flatten")
    backend = CudaBackend(BackendOptions())
    with pytest.raises(BackendUnavailable, match="Conv of network 'classifier'"):
        backend.load("classifier", files["classifier"], SPEC.networks["classifier"])


def test_arithmetic_of_shapes_on_the_host_is_logged(ort, files, caplog):
    ort.on_host = ("Gather", "Cast")
    backend = CudaBackend(BackendOptions())
    with caplog.at_level(logging.INFO):
        backend.load("detector", files["detector"], SPEC.networks["detector"])
    assert "on the host run 3 Cast, 1 Gather" in caplog.text


def test_what_the_package_prints_goes_to_the_log(ort, caplog, capsys):
    with caplog.at_level(logging.INFO):
        CudaBackend(BackendOptions())
    assert ort.preloaded == 1
    assert "libcudnn.so.9" in caplog.text
    assert not capsys.readouterr().out


# ----------------------------------------------------------------------------- errors


@pytest.mark.parametrize("code", sticky_codes())
def test_a_fatal_cuda_error_ends_every_network(backend, ort, code):
    ort.fails = f"CUDA failure {code}: words ; GPU=0 ; hostname=h ; file=f.cc"
    with pytest.raises(DeviceLost):
        backend.run("classifier", {"image": image()})
    ort.fails = ""
    with pytest.raises(DeviceLost):
        backend.run("detector", detector_inputs(1, 64, 64))
    backend.close()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("CUDA failure 1: invalid argument", Reason.NETWORK_FAILED),
        ("Non-zero status code returned", Reason.NETWORK_FAILED),
        ("CUDA failure 2: out of memory", Reason.DEVICE_OUT_OF_MEMORY),
        ("Failed to allocate memory for requested buffer", Reason.DEVICE_OUT_OF_MEMORY),
    ],
)
def test_other_failures_cost_one_batch(backend, ort, said, reason):
    ort.fails = said
    with pytest.raises(BackendError) as caught:
        backend.run("classifier", {"image": image()})
    assert caught.value.reason is reason
    assert said not in caught.value.message
    ort.fails = ""
    assert backend.run("classifier", {"image": image()})


def test_closing_twice_is_harmless(backend):
    backend.run("classifier", {"image": image()})
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="not loaded"):
        backend.run("classifier", {"image": image()})
