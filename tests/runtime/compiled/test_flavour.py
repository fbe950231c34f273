"""The products of the TensorRT family, found or refused."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from support.compiling import rtx_flavour

from spinert.runtime.compiled.flavour import PRODUCTS, load_flavour
from spinert.runtime.errors import BackendUnavailable


def test_an_unknown_target_names_the_choices():
    with pytest.raises(BackendUnavailable, match="tensorrt, tensorrt-rtx"):
        load_flavour("tensorrt_rtx")


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_a_missing_package_says_what_to_install(product, monkeypatch):
    monkeypatch.setitem(sys.modules, product.module, None)
    with pytest.raises(BackendUnavailable, match="not installed") as refusal:
        load_flavour(product.name)
    assert product.install in refusal.value.message


@pytest.mark.parametrize("error", [OSError, RuntimeError])
def test_bindings_without_their_libraries_are_not_installed(error, monkeypatch):
    class Finder:
        @staticmethod
        def find_spec(name, _path, _target=None):
            if name == "tensorrt":
                raise error("libnvinfer.so.11: cannot open shared object file")

    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    with pytest.raises(BackendUnavailable, match="lacks its libraries") as refusal:
        load_flavour("tensorrt")
    assert "libnvinfer" not in refusal.value.message


@pytest.mark.parametrize("version", ["8.6.1", "9.3.0", "unknown"])
def test_versions_without_strong_typing_are_refused(version, monkeypatch):
    fake = SimpleNamespace(__version__=version)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    with pytest.raises(BackendUnavailable, match=f"{version} is too old"):
        load_flavour("tensorrt")


@pytest.mark.parametrize("version", ["10.3.0", "11.4.0.106", "12.0"])
def test_tensorrt_from_10_on_builds_for_the_gpu_at_hand(version, monkeypatch):
    fake = SimpleNamespace(__version__=version)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    flavour = load_flavour("tensorrt")
    assert str(flavour) == f"TensorRT {version}"
    assert flavour.capabilities() == ()


def test_tensorrt_rtx_knows_for_which_gpus_it_builds():
    capabilities = rtx_flavour().capabilities()
    assert {"80", "86", "89", "120"} <= set(capabilities)
    assert capabilities == tuple(sorted(capabilities, key=int))
    assert all(name.isdigit() for name in capabilities)
