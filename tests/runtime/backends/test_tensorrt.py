from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from support.fake_device import FakeDevice, sticky_codes
from support.fake_engines import FakeApi, fake_flavour
from support.graphs import classifier, detector
from support.tensor_rt import SPEC, networks

from spinert.runtime.backends import BACKENDS, Backend, BackendOptions, CompiledBackend
from spinert.runtime.backends import tensorrt_opening as module
from spinert.runtime.backends.tensorrt import TensorRtBackend
from spinert.runtime.backends.tensorrt_opening import (
    tensorrt_backend,
    tensorrt_rtx_backend,
)
from spinert.runtime.compiled.gpu import Gpu
from spinert.runtime.compiled.key import sha256_of_file
from spinert.runtime.errors import BackendError, BackendUnavailable, DeviceLost, Reason

ROLES = ("classifier", "detector")


class Rig:
    """A backend over fakes; engines are taken from a folder instead of built."""

    def __init__(self, folder, product="tensorrt", **options):
        self.device = FakeDevice()
        self.networks = networks()
        self.api = FakeApi(self.device, self.networks)
        self.folder = folder
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.sources = []
        self.stripped = False
        self.onnx_sha256 = ""
        self.backend = TensorRtBackend(
            BackendOptions(**options),
            flavour=fake_flavour(self.api, product),
            device=self.device,
            obtain=self.obtain,
        )
        for role, model in (("classifier", classifier()), ("detector", detector())):
            onnx.save(model, self.folder / f"{role}.onnx")

    def obtain(self, source):
        self.sources.append(source)
        plan = source.role.encode()
        engine = SimpleNamespace(plan=plan, directory=self.folder, sha256=f"of {plan}")
        key = SimpleNamespace(
            stripped=self.stripped,
            onnx_sha256=self.onnx_sha256 or sha256_of_file(source.onnx),
        )
        return SimpleNamespace(engine=engine, key=key)

    def load(self, *roles):
        for role in roles or ROLES:
            path = self.folder / f"{role}.onnx"
            self.backend.load(role, path, SPEC.networks[role])


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path / "engines")
    yield rig
    rig.backend.close()
    assert rig.device.closed == 1


def image(batch=2, height=32, width=32, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (batch, 1, height, width), dtype=np.uint8)


def detector_inputs(batch=2, seed=0):
    size = np.tile(np.array([60, 90], np.int32), (batch, 1))
    return {"image": image(batch, 64, 96, seed), "image_size": size}


def test_it_times_the_layers_of_a_network_that_is_loaded(rig):
    with pytest.raises(BackendError, match="not loaded"):
        rig.backend.layer_times("detector", detector_inputs(), 2)
    rig.load()
    times = rig.backend.layer_times("detector", detector_inputs(), 2)
    assert {layer.name: layer.duration_ms for layer in times} == {
        "stem/Conv + stem/Relu": 0.5,
        "head/MatMul": 0.25,
        "Reformat": 0.25,
    }


def test_it_is_a_backend_with_engines(rig):
    backend: Backend = rig.backend
    assert isinstance(backend, CompiledBackend)
    rig.load()
    assert backend.engine_directories == {role: rig.folder for role in ROLES}


def test_both_networks_answer(rig):
    rig.load()
    for seed in range(5):
        inputs = {"image": image(3, seed=seed)}
        np.testing.assert_array_equal(
            rig.backend.run("classifier", inputs)["logits"],
            rig.networks["classifier"].compute(inputs)["logits"],
        )
        inputs = detector_inputs(2, seed)
        outputs = rig.backend.run("detector", inputs)
        for name, array in rig.networks["detector"].compute(inputs).items():
            np.testing.assert_array_equal(outputs[name], array)


def test_the_networks_run_at_once_each_from_several_threads(rig):
    rig.load()

    def run(i):
        if i % 2:
            inputs = detector_inputs(1 + i % 3, i)
            return inputs, "detector", rig.backend.run("detector", inputs)
        inputs = {"image": image(1 + i % 3, seed=i)}
        return inputs, "classifier", rig.backend.run("classifier", inputs)

    with ThreadPoolExecutor(4) as pool:
        for inputs, role, outputs in pool.map(run, range(60)):
            for name, array in rig.networks[role].compute(inputs).items():
                np.testing.assert_array_equal(outputs[name], array)


def test_each_network_has_streams_of_its_own(rig):
    rig.load("classifier")
    first = set(rig.device.streams)
    rig.load("detector")
    assert len(first) == 3
    assert len(set(rig.device.streams) - first) == 3


@pytest.mark.parametrize(("asked", "used"), [("", "fp16"), ("fp32", "fp32")])
def test_it_says_what_it_is(tmp_path, asked, used):
    rig = Rig(tmp_path / "engines", precision=asked)
    capabilities = rig.backend.capabilities
    assert (capabilities.name, capabilities.version) == ("tensorrt", "11.4.0")
    assert capabilities.precision == used
    assert capabilities.device == "Fake GPU (sm_86), driver 13.0"
    assert capabilities.operators == ("RoiAlign",)
    assert (capabilities.threads, capabilities.concurrent_batches) == (0, 2)
    rig.load("classifier")
    assert rig.sources[0].precision == used
    rig.backend.close()


def test_tensorrt_rtx_runs_no_special_operator(tmp_path):
    rig = Rig(tmp_path / "engines", "tensorrt-rtx")
    assert rig.backend.capabilities.name == "tensorrt-rtx"
    assert rig.backend.capabilities.operators == ()
    rig.backend.close()


@pytest.mark.parametrize("wanted", [True, False])
def test_cuda_graphs_can_be_switched_off(tmp_path, wanted):
    rig = Rig(tmp_path / "engines", cuda_graphs=wanted)
    rig.load("classifier")
    for _ in range(4):
        rig.backend.run("classifier", {"image": image()})
    assert ("capture" in rig.device.calls) is wanted
    rig.backend.close()


# --------------------------------------------------------------------- life and end


@pytest.mark.parametrize("where", ["refit", "contract", "signature", "memory"])
def test_an_engine_that_fails_to_load_is_gone_before_its_device(rig, where):
    spec = rig.networks["classifier"]
    if where == "refit":
        rig.stripped, rig.onnx_sha256 = True, "0" * 64
    elif where == "signature":
        spec.outputs["logits"] = ("complex64", (2,))
    elif where == "contract":
        spec.outputs["logits"] = ("float32", (7,))
    else:
        rig.device.plant("allocate", 2, text="out of memory")
    with pytest.raises(BackendUnavailable) as caught:
        rig.load("classifier")
    engine = weakref.ref(rig.api.engines.pop())
    # The error is still at hand, with every function it passed through.
    assert caught.value.__traceback__ is not None
    assert engine() is None


def test_capabilities_tell_whether_cuda_graphs_are_used(tmp_path):
    told = [
        Rig(tmp_path / str(wanted), cuda_graphs=wanted).backend.capabilities.variant
        for wanted in (True, False)
    ]
    assert told == ["CUDA graphs", ""]


def test_kernels_that_cannot_be_kept_do_not_keep_the_device(tmp_path):
    rig = Rig(tmp_path / "engines", "tensorrt-rtx")
    rig.load("classifier")

    def broken(self):
        raise RuntimeError("serialize")

    rig.backend._jit[0].save = lambda: broken(rig)
    with pytest.raises(RuntimeError, match="serialize"):
        rig.backend.close()
    assert not rig.device.leaks
    assert rig.device.closed == 1


def test_closing_gives_everything_back_and_twice_is_harmless(tmp_path):
    rig = Rig(tmp_path / "engines")
    rig.load()
    for _ in range(4):
        rig.backend.run("classifier", {"image": image()})
    rig.backend.close()
    rig.backend.close()
    assert not rig.device.leaks
    assert not any(engine.contexts for engine in rig.api.engines)
    with pytest.raises(BackendError, match="not loaded"):
        rig.backend.run("classifier", {"image": image()})


def test_a_network_that_is_not_loaded_is_named(rig):
    with pytest.raises(BackendError, match="'classifier' is not loaded"):
        rig.backend.run("classifier", {"image": image()})


@pytest.mark.parametrize("code", sticky_codes())
def test_one_dead_network_ends_both(tmp_path, code):
    rig = Rig(tmp_path / "engines")
    rig.load()
    rig.device.plant("event_synchronize", code)
    with pytest.raises(DeviceLost):
        rig.backend.run("classifier", {"image": image()})
    with pytest.raises(DeviceLost):
        rig.backend.run("detector", detector_inputs())
    with pytest.raises(DeviceLost):
        rig.load("classifier")
    rig.backend.close()
    assert rig.device.closed == 1


# -------------------------------------------------------------------------- loading


def test_an_engine_that_cannot_be_loaded_says_what_to_do(rig):
    del rig.networks["classifier"]
    with pytest.raises(BackendUnavailable, match="build again: spinert build"):
        rig.load("classifier")


def test_an_engine_of_another_network_is_refused(rig):
    rig.networks["classifier"] = rig.networks["detector"]
    with pytest.raises(BackendUnavailable, match="not what the bundle describes"):
        rig.load("classifier")
    assert not rig.device.leaks


def test_too_little_memory_is_a_matter_of_setting_up(rig):
    rig.device._memory_bytes = 10_000
    with pytest.raises(BackendUnavailable, match="no memory left") as caught:
        rig.load("detector")
    assert caught.value.reason is Reason.BACKEND_UNAVAILABLE
    assert not rig.device.leaks


def test_external_data_are_refused_before_anything_is_built(rig):
    (rig.folder / "classifier.onnx").write_bytes(b"\x00")
    with pytest.raises(BackendUnavailable, match="not a readable ONNX file"):
        rig.load("classifier")
    assert not rig.sources


def test_a_stripped_engine_gets_its_weights_back(rig):
    rig.stripped = True
    asked = []

    def refitter(works):
        return lambda *_: SimpleNamespace(
            refit_cuda_engine=lambda: works,
            refit_from_bytes=lambda content: asked.append(content) or works,
        )

    rig.api.Refitter = rig.api.OnnxParserRefitter = refitter(True)
    rig.load("classifier")
    assert asked == [(rig.folder / "classifier.onnx").read_bytes()]
    rig.api.OnnxParserRefitter = refitter(False)
    with pytest.raises(BackendUnavailable, match=r"do not fit the engine"):
        rig.load("classifier")


def test_weights_of_another_graph_are_not_brought_into_an_engine(rig):
    rig.stripped, rig.onnx_sha256 = True, "0" * 64
    with pytest.raises(BackendUnavailable, match=r"classifier.onnx changed"):
        rig.load("classifier")


# --------------------------------------------- kernels that TensorRT-RTX makes itself


def test_kernels_are_kept_beside_the_engine_and_used_again(tmp_path):
    stored = tmp_path / "engines" / "kernels.jit"
    for starts in (1, 2):
        rig = Rig(tmp_path / "engines", "tensorrt-rtx")
        rig.load("classifier")
        made = int(stored.read_bytes().split()[2])
        assert made == starts * made_by_one_start(rig)
        written = stored.stat().st_ino
        rig.backend.close()
        assert stored.stat().st_ino == written, "written without anything new"


def made_by_one_start(rig):
    return rig.api.engines[0].made


def test_kernels_that_fit_nothing_are_made_again(tmp_path):
    rig = Rig(tmp_path / "engines", "tensorrt-rtx")
    stored = rig.folder / "kernels.jit"
    stored.write_bytes(b"of another GPU")
    rig.load("classifier")
    rig.backend.close()
    assert stored.read_bytes().startswith(b"kernels of")


def test_kernels_that_another_user_could_have_written_are_refused(tmp_path):
    rig = Rig(tmp_path / "engines", "tensorrt-rtx")
    stored = rig.folder / "kernels.jit"
    stored.write_bytes(b"kernels of 3 contexts")
    stored.chmod(0o666)
    with pytest.raises(BackendUnavailable) as caught:
        rig.load("classifier")
    assert caught.value.reason is Reason.ENGINE_UNTRUSTED
    rig.backend.close()


def test_kernels_that_cannot_be_kept_are_only_logged(tmp_path, monkeypatch, caplog):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("spinert.runtime.tensor_rt.jit_cache.write_atomically", full)
    rig = Rig(tmp_path / "engines", "tensorrt-rtx")
    rig.load("classifier")
    rig.backend.close()
    assert "cannot keep the kernels" in caplog.text


def test_kernels_are_never_exchanged_behind_the_gates_back(tmp_path):
    rig = Rig(tmp_path / "engines", "tensorrt-rtx")
    configs = []
    real = type(rig.api)._deserialized

    def deserialized(plan):
        engine = real(rig.api, plan)
        make = engine.create_runtime_config
        engine.create_runtime_config = lambda: configs.append(make()) or configs[-1]
        return engine

    rig.api._deserialized = deserialized
    rig.load()
    strategy = "dynamic_shapes_kernel_specialization_strategy"
    used = {vars(config).get(strategy) for config in configs} - {None}
    # The classifier has one size, the detector many.
    assert used == {"EAGER", "NONE"}
    rig.backend.close()


# -------------------------------------------------------------------------- opening


@pytest.fixture
def h200(monkeypatch):
    gpu = Gpu(name="NVIDIA H200", sm="90", uuid="GPU-1", driver="13.0 (580.1)")
    monkeypatch.setattr(module, "gpu_of_this_machine", lambda: gpu)


def test_a_gpu_that_tensorrt_rtx_does_not_run_on_names_another_backend(h200, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    with pytest.raises(BackendUnavailable, match="onnxruntime-cuda") as caught:
        tensorrt_rtx_backend(BackendOptions(cache_dir=tmp_path / "engines"))
    assert "sm_90" in caught.value.message


@pytest.mark.parametrize("open_backend", [tensorrt_backend, tensorrt_rtx_backend])
def test_a_package_that_is_missing_is_named(monkeypatch, open_backend):
    def missing(name):
        raise BackendUnavailable(Reason.BACKEND_UNAVAILABLE, f"{name} is missing")

    monkeypatch.setattr(module, "load_flavour", missing)
    with pytest.raises(BackendUnavailable, match="tensorrt"):
        open_backend(BackendOptions())


def test_without_a_cache_directory_there_are_no_engines(monkeypatch):
    rtx = SimpleNamespace(__str__=lambda: "TensorRT")
    monkeypatch.setattr(module, "load_flavour", lambda name: rtx)
    with pytest.raises(BackendUnavailable, match=r"set engines\.cache_dir"):
        tensorrt_backend(BackendOptions())


def test_everything_real_is_put_together(monkeypatch, tmp_path):
    device = FakeDevice()
    api = FakeApi(device, networks())
    flavour = fake_flavour(api)
    seen = []

    def obtained(source, flavour, key, cache, progress):
        seen.append((source.role, key.flavour, key.target.sm, key.profiles))
        plan = source.role.encode()
        engine = SimpleNamespace(plan=plan, directory=cache.root, sha256="ab")
        return SimpleNamespace(engine=engine, key=key)

    monkeypatch.setattr(module, "load_flavour", lambda name: flavour)
    monkeypatch.setattr(module, "gpu_of_this_machine", lambda: device.gpu)
    monkeypatch.setattr(module, "open_pycuda_device", lambda: device)
    monkeypatch.setattr(module, "obtained_engine", obtained)
    path = tmp_path / "classifier.onnx"
    onnx.save(classifier(), path)
    options = BackendOptions(cache_dir=tmp_path / "cache", max_batch=4)
    backend = tensorrt_backend(options)
    backend.load("classifier", path, SPEC.networks["classifier"])
    ((role, name, sm, profiles),) = seen
    assert (role, name, sm) == ("classifier", "tensorrt", "86")
    assert max(profile.image.maximum for profile in profiles) == (4, 1, 32, 32)
    backend.close()


def test_the_backends_are_in_the_table():
    assert {"tensorrt", "tensorrt-rtx", "onnxruntime-cuda"} <= BACKENDS.keys()
