"""What the full TensorRT is asked for; it needs a GPU, so a fake answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.compiling import classifier_source, detector_source
from support.fake_tensorrt import FakeTensorrt, tensor

from spinert.runtime.compiled.building import plan_from_onnx
from spinert.runtime.compiled.key import Target
from spinert.runtime.compiled.obtaining import CompileOptions, key_for
from spinert.runtime.compiled.timing import TimingCache
from spinert.runtime.errors import BackendUnavailable

TARGET = Target(sm="87", gpu="Orin", driver="12.6")


def build(fake, folder, *, source=classifier_source, timing=None, **options):
    flavour = fake.flavour()
    made = source(folder)
    key = key_for(made, flavour, TARGET, CompileOptions(**options))
    return plan_from_onnx(flavour, made.onnx, made.network, key, lambda _: None, timing)


def words(fake: FakeTensorrt, name: str) -> list[tuple]:
    return [call[1:] for call in fake.calls if call[0] == name]


@pytest.mark.parametrize(("version", "flags"), [("10.3.0", 2), ("11.4.0", 0)])
def test_networks_are_strongly_typed_in_every_version(version, flags, tmp_path):
    fake = FakeTensorrt(version=version)
    plan = build(fake, tmp_path)
    assert bytes(plan.content) == b"a plan"
    # In 10 by the flag, bit 1; from 11 on there is nothing else.
    assert words(fake, "create_network") == [(flags,)]


@pytest.mark.parametrize("version", ["10.16.1", "11.4.0"])
def test_no_precision_flag_is_set_and_tf32_is_cleared(version, tmp_path):
    fake = FakeTensorrt(version=version)
    build(fake, tmp_path)
    assert words(fake, "set_flag") == []
    assert words(fake, "clear_flag") == [("TF32",)]


def test_the_plugins_that_run_roi_align_are_there_before_the_graph_is_read(tmp_path):
    fake = FakeTensorrt()
    build(fake, tmp_path)
    names = [call[0] for call in fake.calls]
    assert names.index("init_libnvinfer_plugins") < names.index("create_network")


def test_lone_frames_and_batches_have_a_profile_each(tmp_path):
    fake = FakeTensorrt()
    build(fake, tmp_path, max_batch=8)
    assert words(fake, "profile") == [
        ({"image": ((1, 1, 32, 32),) * 3},),
        ({"image": ((2, 1, 32, 32), (8, 1, 32, 32), (8, 1, 32, 32))},),
    ]


def test_a_detector_has_profiles_for_both_inputs(tmp_path):
    fake = FakeTensorrt(
        inputs=(
            tensor("image", "UINT8", -1, 1, -1, -1),
            tensor("image_size", "INT32", -1, 2),
        ),
        outputs=(
            tensor("boxes", "FLOAT", -1, 8, 4),
            tensor("scores", "FLOAT", -1, 8),
            tensor("labels", "INT64", -1, 8),
        ),
    )
    build(fake, tmp_path, source=detector_source, max_batch=2)
    first, second = (shapes for (shapes,) in words(fake, "profile"))
    assert first["image_size"] == ((1, 2),) * 3
    assert second["image_size"] == ((2, 2),) * 3
    assert second["image"][2] == (2, 1, 96, 96)


def test_an_output_of_another_type_is_refused(tmp_path):
    fake = FakeTensorrt(outputs=(tensor("logits", "HALF", -1, 2),))
    with pytest.raises(BackendUnavailable, match="float16"):
        build(fake, tmp_path)


@pytest.mark.parametrize("level", [0, 5])
def test_the_optimisation_level_is_passed_on(level, tmp_path):
    fake = FakeTensorrt()
    build(fake, tmp_path, optimization_level=level)
    assert words(fake, "build") == [(level,)]


def test_weights_are_stripped_where_that_is_asked_for(tmp_path):
    fake = FakeTensorrt()
    build(fake, tmp_path, strip_weights=True)
    assert words(fake, "set_flag") == [("STRIP_PLAN",)]


def test_the_layer_that_has_no_kernel_is_named(tmp_path):
    fake = FakeTensorrt(
        plan=None,
        errors=(
            "[api.cpp] something else",
            "Error Code 10: Could not find any implementation for node /heads/Conv.",
        ),
    )
    with pytest.raises(BackendUnavailable, match="layer '/heads/Conv' of"):
        build(fake, tmp_path)


def test_a_build_that_fails_without_a_word_is_an_error_all_the_same(tmp_path):
    with pytest.raises(BackendUnavailable, match="cannot compile network 'classifier'"):
        build(FakeTensorrt(plan=None), tmp_path)


def test_kernel_times_are_kept_for_the_next_build(tmp_path):
    fake = FakeTensorrt()
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    for _ in range(2):
        build(fake, tmp_path, timing=TimingCache(cache, fake.flavour(), TARGET))
    assert words(fake, "set_timing_cache") == [(b"", False), (b"measured", False)]
    (file,) = cache.iterdir()
    assert file.read_bytes() == b"measuredmeasured"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("version", "target"),
    [("11.4.1", TARGET), ("11.4.0", replace(TARGET, driver="13.0"))],
)
def test_kernel_times_of_another_version_or_driver_are_not_taken(
    version, target, tmp_path
):
    tmp_path.chmod(0o700)
    fake = FakeTensorrt(version="11.4.0")
    build(fake, tmp_path, timing=TimingCache(tmp_path, fake.flavour(), TARGET))
    other = FakeTensorrt(version=version)
    build(other, tmp_path, timing=TimingCache(tmp_path, other.flavour(), target))
    assert words(other, "create_timing_cache") == [(b"",)]


def test_kernel_times_that_another_user_could_have_written_are_not_taken(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    fake = FakeTensorrt()
    timing = TimingCache(cache, fake.flavour(), TARGET)
    build(fake, tmp_path, timing=timing)
    (file,) = cache.iterdir()
    file.chmod(0o666)
    fake.calls.clear()
    build(fake, tmp_path, timing=timing)
    assert words(fake, "create_timing_cache") == [(b"",)]


def test_kernel_times_that_tensorrt_refuses_are_measured_again(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    timing = TimingCache(cache, FakeTensorrt().flavour(), TARGET)
    build(FakeTensorrt(), tmp_path, timing=timing)
    fake = FakeTensorrt(times_are_ours=False)
    build(fake, tmp_path, timing=timing)
    assert words(fake, "set_timing_cache") == [(b"measured", False), (b"", False)]


def test_kernel_times_that_cannot_be_kept_cost_no_engine(tmp_path, caplog):
    timing = TimingCache(tmp_path / "missing", FakeTensorrt().flavour(), TARGET)
    assert bytes(build(FakeTensorrt(), tmp_path, timing=timing).content) == b"a plan"
    assert "cannot keep kernel times" in caplog.text
