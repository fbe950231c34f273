"""What an engine is good for, and why another is not it."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from support.compiling import ENGINE_KEY, rtx_flavour
from support.fake_tensorrt import FakeTensorrt

from spinert.runtime.compiled.gpu import Gpu
from spinert.runtime.compiled.key import (
    EngineKey,
    Target,
    ahead_of_time_target,
    sha256_of_file,
    target_for,
)
from spinert.runtime.compiled.profiles import Profile, ShapeRange
from spinert.runtime.errors import BackendUnavailable

GPU = Gpu(name="NVIDIA RTX A2000", sm="86", uuid="GPU-1", driver="13.0 (580.65.06)")


def profile(maximum: int) -> Profile:
    low, high = (1, 1, 32, 32), (maximum, 1, 32, 32)
    return Profile(image=ShapeRange(minimum=low, optimum=high, maximum=high))


KEY = ENGINE_KEY
OTHERS = {
    "role": "detector",
    "onnx_sha256": "b" * 64,
    "flavour": "tensorrt-rtx",
    "flavour_version": "11.4.1",
    "target": replace(KEY.target, driver="13.1"),
    "profiles": (profile(8),),
    "precision": "fp32",
    "optimization_level": 4,
    "stripped": True,
    "format": 2,
}


def test_the_list_of_changes_misses_no_field():
    assert set(OTHERS) == {field.name for field in fields(EngineKey)}


@pytest.mark.parametrize("name", OTHERS)
def test_a_key_that_differs_anywhere_is_another_engine(name):
    other = replace(KEY, **{name: OTHERS[name]})
    assert other.digest() != KEY.digest()
    differences = other.explain(KEY.as_json())
    assert differences
    assert all(difference.startswith(name) for difference in differences)


@pytest.mark.parametrize("name", [field.name for field in fields(Target)])
def test_a_target_that_differs_anywhere_is_another_engine(name):
    other = replace(KEY, target=replace(KEY.target, **{name: "other"}))
    assert other.digest() != KEY.digest()


def test_equal_keys_name_the_same_engine():
    assert replace(KEY).digest() == KEY.digest()
    assert len(KEY.digest()) == 64
    assert KEY.explain(KEY.as_json()) == ()


def test_a_difference_tells_old_and_new():
    newer = replace(KEY, target=replace(KEY.target, driver="13.1"))
    assert newer.explain(KEY.as_json()) == (
        "target.driver was 13.0 (580.65.06), is 13.1",
    )
    assert replace(KEY, onnx_sha256="b" * 64).explain(KEY.as_json()) == (
        "onnx_sha256 differs",
    )
    wider = replace(KEY, profiles=(profile(8),)).explain(KEY.as_json())
    assert wider[0] == (
        "profiles.0.image.maximum was [4, 1, 32, 32], is [8, 1, 32, 32]"
    )


def test_a_field_that_an_older_key_lacks_is_a_difference():
    stored = KEY.as_json()
    del stored["stripped"]
    assert KEY.explain(stored) == ("stripped was None, is False",)


def test_an_engine_of_tensorrt_is_bound_to_model_and_driver():
    flavour = FakeTensorrt().flavour()
    assert target_for(flavour, GPU, bind_to_gpu=False) == Target(
        sm="86", gpu="NVIDIA RTX A2000", driver="13.0 (580.65.06)"
    )
    assert target_for(flavour, GPU, bind_to_gpu=True).uuid == "GPU-1"


def test_an_engine_of_tensorrt_rtx_is_for_any_gpu_of_its_capability():
    flavour = rtx_flavour()
    assert target_for(flavour, GPU, bind_to_gpu=True) == Target(sm="86")
    assert ahead_of_time_target(flavour, "86") == Target(sm="86")


def test_a_gpu_that_tensorrt_rtx_does_not_know_is_sent_to_another_backend():
    hopper = replace(GPU, sm="90")
    with pytest.raises(BackendUnavailable, match=r"sm_90.*onnxruntime-cuda"):
        target_for(rtx_flavour(), hopper, bind_to_gpu=False)


def test_tensorrt_does_not_build_for_other_machines():
    with pytest.raises(BackendUnavailable, match="leave out --sm"):
        ahead_of_time_target(FakeTensorrt().flavour(), "86")


def test_a_hash_is_of_the_whole_file(tmp_path):
    path = tmp_path / "classifier.onnx"
    path.write_bytes(b"weights " * 100_000 + b"1")
    first = sha256_of_file(path)
    path.write_bytes(b"weights " * 100_000 + b"2")
    assert sha256_of_file(path) != first
    with pytest.raises(BackendUnavailable, match=r"missing.onnx cannot be read"):
        sha256_of_file(tmp_path / "missing.onnx")
