from __future__ import annotations

import pytest
from support.device_inputs import preparing_rig
from support.golden import write_golden_bundle

from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.fake import FakeBackend
from spinert.runtime.bundle import load_bundle
from spinert.runtime.device_input import resizing
from spinert.runtime.device_input.weights import bilinear_weights
from spinert.runtime.errors import BundleError, Reason
from spinert.runtime.gate.device_inputs import require_device_inputs
from spinert.runtime.gate.running import run_gate, run_golden_frame


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(write_golden_bundle(tmp_path_factory.mktemp("golden")))


@pytest.fixture
def frames(bundle):
    return bundle.spec.golden.frames


def test_the_device_makes_the_inputs_of_the_export(
    bundle, frames, tmp_path, monkeypatch
):
    with preparing_rig(tmp_path, monkeypatch) as rig:
        require_device_inputs(bundle, rig.backend, frames)
        assert not rig.lent


@pytest.mark.parametrize("gate", [run_golden_frame, run_gate])
def test_one_grey_level_elsewhere_stops_the_start(bundle, gate, tmp_path, monkeypatch):
    def heavier(sources, results):
        weights = bilinear_weights(sources, results)
        weights.values[0] += 1 << 16
        return weights

    monkeypatch.setattr(resizing, "bilinear_weights", heavier)
    more = () if gate is run_golden_frame else ((1,), lambda *_: None)
    with (
        preparing_rig(tmp_path, monkeypatch) as rig,
        pytest.raises(BundleError, match=r"backend\.device_preprocessing") as caught,
    ):
        gate(bundle, rig.backend, *more)
    assert caught.value.reason is Reason.GOLDEN_SET_FAILED
    assert not rig.device.leaks


def test_a_backend_that_leaves_inputs_to_the_host_is_not_asked(bundle, frames):
    require_device_inputs(bundle, FakeBackend(BackendOptions()), frames)
