"""`spinert build --config`: the server with these settings finds the engines."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from rich.console import Console
from support.bundles import tiny_spec, write_bundle
from support.fake_device import FakeDevice
from support.fake_engines import FakeApi, fake_flavour
from support.graphs import classifier, detector
from support.tensor_rt import networks

from spinert.commands.bundles import build as command
from spinert.runtime.backends import tensorrt_opening
from spinert.runtime.backends.settings import BackendSettings
from spinert.runtime.bundle import LoadedBundle, load_bundle
from spinert.runtime.compiled.settings import EnginesSettings
from spinert.runtime.config import Settings, settings_from_toml
from spinert.runtime.engine.opening import opened_backend
from spinert.runtime.errors import ConfigError
from spinert.runtime.report import build
from spinert.runtime.report.build import BuildFlags, build_engines, order_from_flags


@pytest.fixture
def bundle(tmp_path) -> LoadedBundle:
    spec, files = tiny_spec(), {}
    for role, model in (("classifier", classifier()), ("detector", detector())):
        network = spec.networks[role]
        half = network.forms.add(file=f"networks/{role}.fp16.onnx", precision="fp16")
        model.producer_name = "fp32"
        files[network.file] = model.SerializeToString()
        model.producer_name = "fp16"
        files[half.file] = model.SerializeToString()
    return load_bundle(write_bundle(tmp_path / "bundle", spec, files))


class Wanted:
    """Everything up to compiling; which engines were asked for, and where."""

    def __init__(self, monkeypatch):
        self.device = FakeDevice()
        flavour = fake_flavour(FakeApi(self.device, networks()))
        self.engines: list[tuple[object, Path, str]] = []
        for module in (build, tensorrt_opening):
            monkeypatch.setattr(module, "load_flavour", lambda name: flavour)
            monkeypatch.setattr(module, "gpu_of_this_machine", lambda: self.device.gpu)
            monkeypatch.setattr(module, "obtained_engine", self.obtained)
        monkeypatch.setattr(tensorrt_opening, "open_pycuda_device", lambda: self.device)

    def obtained(self, source, flavour, key, cache, progress):
        self.engines.append((key, cache.root, source.onnx.name))
        record = SimpleNamespace(seconds=1.0, peak_rss_bytes=1)
        plan = source.role.encode()
        engine = SimpleNamespace(
            plan=plan, directory=cache.root / "of", sha256="ab", record=record
        )
        # A real one would be given its weights back, which the fake engine has.
        whole = replace(key, stripped=False)
        return SimpleNamespace(key=whole, engine=engine, was_cached=False, why_built=())

    def by_a_server(self, bundle, settings):
        self.engines.clear()
        with opened_backend(bundle, settings):
            return tuple(self.engines)

    def by_a_build(self, bundle, settings):
        self.engines.clear()
        flags = BuildFlags(bundle=bundle.directory, target="tensorrt")
        order = order_from_flags(flags, settings)
        build_engines(order, Console(file=io.StringIO()))
        return tuple(self.engines)


@pytest.fixture
def wanted(monkeypatch) -> Wanted:
    return Wanted(monkeypatch)


def settings_of(folder: Path, text: str) -> Settings:
    path = folder / "server.toml"
    path.write_text(text)
    return settings_from_toml(path)


CONFIGS = {
    "nothing": "",
    "fp32": '[backend]\nprecision = "fp32"',
    "fp16": '[backend]\nprecision = "fp16"',
    "max_batch": "[engine]\nmax_batch = 3",
    "cache_dir": '[engines]\ncache_dir = "{folder}/elsewhere"',
    "optimization_level": "[engines]\noptimization_level = 1",
    "strip_weights": "[engines]\nstrip_weights = true",
    "bind_to_gpu": "[engines]\nbind_to_gpu = true",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_server_looks_for_the_engines_that_were_built(name, bundle, wanted, tmp_path):
    text = CONFIGS[name].format(folder=tmp_path)
    if "[backend]" not in text:
        text += "\n[backend]"
    served = settings_of(tmp_path, text + '\nname = "tensorrt"')
    built = wanted.by_a_build(bundle, settings_of(tmp_path, text))
    assert len(built) == 2
    assert wanted.by_a_server(bundle, served) == built
    plain = Settings(backend=BackendSettings(name="tensorrt"))
    is_default = name in ("nothing", "fp16")
    assert (wanted.by_a_server(bundle, plain) == built) == is_default


def test_the_size_of_images_is_taken_from_the_settings(tmp_path):
    engines = EnginesSettings(max_height_px=640, max_width_px=320)
    flags = BuildFlags(bundle=tmp_path, target="tensorrt")
    order = order_from_flags(flags, Settings(engines=engines))
    assert order.settings == engines


def test_the_precision_of_the_command_line_goes_before_that_of_the_settings(tmp_path):
    settings = Settings(backend=BackendSettings(precision="fp32"))
    flags = BuildFlags(bundle=tmp_path, target="tensorrt", precision="fp16")
    assert order_from_flags(flags, settings).precision == "fp16"


def test_a_precision_that_no_engine_has_is_refused_with_the_way_out(tmp_path):
    settings = Settings(backend=BackendSettings(name="openvino", precision="bf16"))
    flags = BuildFlags(bundle=tmp_path, target="tensorrt-rtx")
    with pytest.raises(ConfigError, match="give --precision fp16 or fp32"):
        order_from_flags(flags, settings)


def test_the_command_passes_its_config_on(bundle, wanted, tmp_path):
    config = tmp_path / "server.toml"
    config.write_text('[backend]\nprecision = "fp32"')
    words = [str(bundle.directory), "--target", "tensorrt", "--json"]
    words += ["--cache", str(tmp_path / "cache"), "--config", str(config)]
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert {key.precision for key, *_ in wanted.engines} == {"fp32"}
