"""What happens when a backend is opened, besides loading networks."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import pytest
from support.engines import tiny_bundle

from spinert.runtime import backends
from spinert.runtime.backends.fake import FakeBackend
from spinert.runtime.compiled.settings import EnginesSettings
from spinert.runtime.config import BackendSettings, Settings
from spinert.runtime.engine.opening import (
    opened_backend,
    options_from_settings,
    require_backend,
)
from spinert.runtime.errors import BackendUnavailable, Reason


class WithEngines(FakeBackend):
    """A backend whose engines are "one" and "two" of the cache."""

    def __init__(self, options):
        super().__init__(options)
        self.root = options.cache_dir

    @property
    def engine_directories(self):
        return {"classifier": self.root / "one", "detector": self.root / "two"}

    @property
    def engine_sha256s(self):
        return {"classifier": "ab", "detector": "cd"}


class WithoutHardware(FakeBackend):
    def __init__(self, options):
        raise BackendUnavailable(Reason.BACKEND_UNAVAILABLE, "no such GPU")


@pytest.fixture
def special(monkeypatch):
    """Return a function that makes a class the backend called "special"."""

    def named(cls):
        monkeypatch.setitem(
            sys.modules, "special_backend", SimpleNamespace(Special=cls)
        )
        monkeypatch.setitem(backends.BACKENDS, "special", "special_backend:Special")

    return named


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle(tmp_path / "bundle")


@pytest.fixture
def engines(tmp_path):
    root = tmp_path / "engines"
    for name in ("one", "two", "three"):
        folder = root / name
        folder.mkdir(mode=0o700, parents=True)
        (folder / "engine.plan").write_bytes(b"plan")
    root.chmod(0o700)
    return root


def settings_of(name, engines, keep_gib=0):
    return Settings(
        backend=BackendSettings(name=name),
        engines=EnginesSettings(cache_dir=str(engines), keep_gib=keep_gib),
    )


@pytest.mark.parametrize(
    ("keep_gib", "left"), [(0, ["one", "two"]), (1, ["one", "three", "two"])]
)
def test_the_cache_is_pruned_but_for_the_engines_that_serve(
    special, bundle, engines, keep_gib, left
):
    special(WithEngines)
    with opened_backend(bundle, settings_of("special", engines, keep_gib)):
        assert sorted(path.parent.name for path in engines.glob("*/*.plan")) == left


def test_a_cache_that_cannot_be_pruned_does_not_keep_the_server_down(
    special, bundle, engines, caplog
):
    special(WithEngines)
    engines.chmod(0o777)
    with (
        caplog.at_level(logging.WARNING),
        opened_backend(bundle, settings_of("special", engines)),
    ):
        assert "the engine cache is not pruned" in caplog.text
    assert len(list(engines.glob("*/*.plan"))) == 3


def test_a_backend_without_engines_touches_no_cache(bundle, engines):
    with opened_backend(bundle, settings_of("fake", engines)):
        assert len(list(engines.glob("*/*.plan"))) == 3


def test_with_a_fallback_the_hardware_of_the_backend_may_be_missing(special):
    special(WithoutHardware)
    with pytest.raises(BackendUnavailable, match="no such GPU"):
        require_backend(Settings(backend=BackendSettings(name="special")))
    backend = BackendSettings(name="special", fallback="onnxruntime")
    require_backend(Settings(backend=backend))


def test_with_a_fallback_the_backend_has_to_be_known_all_the_same():
    backend = BackendSettings(name="tensort", fallback="onnxruntime")
    with pytest.raises(BackendUnavailable, match="unknown backend 'tensort'"):
        require_backend(Settings(backend=backend))


@pytest.mark.parametrize("wanted", [True, False])
def test_cuda_graphs_are_a_setting(wanted):
    settings = Settings(backend=BackendSettings(cuda_graphs=wanted))
    assert options_from_settings(settings).cuda_graphs is wanted


def test_preprocessing_on_the_device_is_a_setting():
    backend = BackendSettings(
        name="tensorrt", device_preprocessing=True, device_images_mib=64
    )
    options = options_from_settings(Settings(backend=backend))
    assert options.device_preprocessing
    assert options.device_images_mib == 64
    assert not options_from_settings(Settings()).device_preprocessing
