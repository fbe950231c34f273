"""`spinert build`, with real engines of tiny networks."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.bundles import write_tiny_bundle
from support.compiling import rtx_flavour
from support.graphs import onnx_bundle

from spinert.runtime.compiled.settings import EnginesSettings
from spinert.runtime.config import EngineSettings, Settings
from spinert.runtime.errors import BackendUnavailable, BundleError, ConfigError
from spinert.runtime.report.build import (
    BuildFlags,
    build_engines,
    engines_table,
    json_from_engines,
    order_from_flags,
)


@pytest.fixture
def bundle(tmp_path) -> Path:
    onnx_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def flags(bundle, tmp_path) -> BuildFlags:
    rtx_flavour()
    return BuildFlags(
        bundle=bundle,
        target="tensorrt-rtx",
        sm="86",
        precision="fp32",
        cache=tmp_path / "engines",
    )


def run(flags: BuildFlags, settings: Settings | None = None):
    order = order_from_flags(flags, settings or Settings())
    return build_engines(order, Console(file=io.StringIO()))


def text_of(engines) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(engines_table(engines))
    return console.file.getvalue()


def test_every_network_is_built_once_for_every_gpu(flags):
    first = run(replace(flags, sm="86,120"))
    assert [(e.network, e.sm) for e in first] == [
        ("classifier", "86"),
        ("detector", "86"),
        ("classifier", "120"),
        ("detector", "120"),
    ]
    assert not any(engine.was_cached for engine in first)
    assert len({engine.sha256 for engine in first}) == 4
    second = run(flags)
    assert all(engine.was_cached for engine in second)
    assert [e.sha256 for e in second] == [e.sha256 for e in first[:2]]


def test_the_table_says_what_was_built_and_why(flags):
    built = text_of(run(flags))
    for word in ("classifier", "sm_86", "fp32", "1-4", "MiB", "built", "1.7"):
        assert word in built
    assert "from the cache" in text_of(run(flags))
    again = text_of(run(replace(flags, optimization_level=0)))
    assert "optimization_level was 3, is 0" in again


def test_the_report_is_there_for_machines(flags):
    engines = json.loads(json_from_engines(run(flags)))["engines"]
    assert [engine["network"] for engine in engines] == ["classifier", "detector"]
    for engine in engines:
        plan = Path(engine["directory"], "engine.plan")
        assert engine["bytes"] == plan.stat().st_size
        assert engine["seconds"] > 0


def test_engines_are_for_the_batches_of_the_server(flags):
    settings = Settings(engine=EngineSettings(max_batch=2))
    assert {engine.max_batch for engine in run(flags, settings)} == {2}
    assert {e.max_batch for e in run(replace(flags, max_batch=3), settings)} == {3}


def test_an_engine_that_is_asked_for_is_not_removed_to_make_room_for_another(flags):
    settings = Settings(engines=EnginesSettings(keep_gib=0))
    first, _ = run(flags, settings)
    shutil.rmtree(first.directory)
    classifier, detector = run(flags, settings)
    assert (classifier.was_cached, detector.was_cached) == (False, True)


def test_a_precision_that_the_bundle_lacks_is_refused(flags):
    with pytest.raises(BackendUnavailable, match="no fp16 graph"):
        run(replace(flags, precision="fp16"))


def test_a_damaged_bundle_is_not_built(flags):
    onnx = flags.bundle / "networks" / "detector.onnx"
    content = bytearray(onnx.read_bytes())
    content[-1] ^= 1
    onnx.write_bytes(content)
    with pytest.raises(BundleError):
        run(flags)


def test_engines_are_not_kept_in_the_bundle(flags):
    with pytest.raises(BackendUnavailable, match="lies in a bundle"):
        run(replace(flags, cache=flags.bundle / "engines"))


def test_engines_of_this_run_stay_in_a_cache_that_is_too_small(flags):
    old = run(replace(flags, max_batch=1))
    new = run(flags, Settings(engines=EnginesSettings(keep_gib=0)))
    assert all(Path(engine.directory).exists() for engine in new)
    assert not any(Path(engine.directory).exists() for engine in old)


def test_without_a_list_of_gpus_the_one_at_hand_is_asked_for(flags, monkeypatch):
    def none_here():
        raise BackendUnavailable("BACKEND_UNAVAILABLE", "no CUDA driver")

    monkeypatch.setattr("spinert.runtime.report.build.gpu_of_this_machine", none_here)
    with pytest.raises(BackendUnavailable, match="no CUDA driver"):
        run(replace(flags, sm=None))


@pytest.mark.parametrize(
    ("typed", "sms"),
    [
        (None, ()),
        ("", ()),
        ("86", ("86",)),
        ("86,89", ("86", "89")),
        (" 8.6 , 12.0,86", ("86", "120")),
    ],
)
def test_gpus_are_written_as_people_write_them(typed, sms, tmp_path):
    flags = BuildFlags(bundle=tmp_path, target="tensorrt-rtx", sm=typed)
    assert order_from_flags(flags, Settings()).sms == sms


def test_flags_override_the_settings_and_leave_the_rest(tmp_path):
    settings = Settings(
        engines=EnginesSettings(cache_dir="/one", keep_gib=3, optimization_level=1)
    )
    plain = BuildFlags(bundle=tmp_path, target="tensorrt")
    assert order_from_flags(plain, settings).settings == settings.engines
    typed = replace(plain, cache=Path("/two"), optimization_level=0, strip_weights=True)
    assert order_from_flags(typed, settings).settings == EnginesSettings(
        cache_dir="/two", keep_gib=3, optimization_level=0, strip_weights=True
    )
    with pytest.raises(ConfigError, match=r"engines\.optimization_level"):
        order_from_flags(replace(plain, optimization_level=6), settings)


def test_the_command_builds_and_reports(flags):
    options = {
        "--target": flags.target,
        "--sm": flags.sm,
        "--precision": flags.precision,
        "--cache": flags.cache,
    }
    words = [str(word) for option in options.items() for word in option]
    command = [sys.executable, "-m", "spinert", "build", str(flags.bundle), "--json"]
    done = subprocess.run([*command, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    engines = json.loads(done.stdout)["engines"]
    assert [engine["network"] for engine in engines] == ["classifier", "detector"]
    assert "building the engine of detector for sm_86" in done.stderr


def test_the_command_explains_what_it_cannot_build(tmp_path):
    rtx_flavour()
    bundle = write_tiny_bundle(tmp_path / "bundle")
    command = [sys.executable, "-m", "spinert", "build", str(bundle)]
    words = ["--target", "tensorrt-rtx", "--sm", "90", "--cache", str(tmp_path / "e")]
    done = subprocess.run([*command, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: BACKEND_UNAVAILABLE: TensorRT-RTX")
    assert len(done.stderr.splitlines()) == 1
