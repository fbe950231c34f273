"""From a network to an engine in the cache, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.compiling import classifier_source, key_of, rtx_flavour
from support.fake_tensorrt import FakeTensorrt

from spinert.runtime.compiled.cache import EngineCache
from spinert.runtime.compiled.key import Target
from spinert.runtime.compiled.obtaining import (
    CompileOptions,
    key_for,
    obtained_engine,
    options_from_settings,
)
from spinert.runtime.compiled.profiles import LargestImage
from spinert.runtime.compiled.settings import EnginesSettings
from spinert.runtime.compiled.storing import PLAN
from spinert.runtime.errors import BackendUnavailable, Reason

TARGET = Target(sm="87")


@pytest.fixture
def cache(tmp_path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def obtained(cache, fake, folder, *, told=None, target=TARGET, **options):
    flavour = fake.flavour()
    source = classifier_source(folder)
    key = key_for(source, flavour, target, CompileOptions(**options))
    progress = (told if told is not None else []).append
    return obtained_engine(
        source, flavour, key, cache, lambda stage, _fraction: progress(stage)
    )


def builds(fake: FakeTensorrt) -> int:
    return sum(call[0] == "build" for call in fake.calls)


def test_an_engine_is_built_once_and_then_taken_from_the_cache(cache, tmp_path):
    fake = FakeTensorrt()
    first = obtained(cache, fake, tmp_path)
    second = obtained(cache, fake, tmp_path)
    assert builds(fake) == 1
    assert (first.was_cached, second.was_cached) == (False, True)
    assert first.engine.plan == second.engine.plan == b"a plan"
    assert first.engine.record == second.engine.record


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": "11.4.0"}, "flavour_version was 10.16.1.11, is 11.4.0"),
        ({"target": Target(sm="87", driver="13.1")}, "target.driver was , is 13.1"),
        ({"optimization_level": 5}, "optimization_level was 3, is 5"),
        ({"strip_weights": True}, "stripped was False, is True"),
    ],
)
def test_an_engine_for_something_else_is_built_again_and_says_why(
    cache, tmp_path, change, why
):
    obtained(cache, FakeTensorrt(), tmp_path)
    fake = FakeTensorrt(version=change.pop("version", "10.16.1.11"))
    again = obtained(cache, fake, tmp_path, **change)
    assert builds(fake) == 1
    assert again.why_built == (why,)


def test_new_weights_are_another_engine(cache, tmp_path):
    flavour = FakeTensorrt().flavour()
    keys = set()
    for content in (b"\x18\x01", b"\x18\x02"):  # one field of the model differs
        source = classifier_source(tmp_path)
        source.onnx.write_bytes(source.onnx.read_bytes() + content)
        keys.add(key_for(source, flavour, TARGET, CompileOptions()).digest())
    assert len(keys) == 2


def test_a_corrupt_engine_is_built_again(cache, tmp_path):
    fake = FakeTensorrt()
    first = obtained(cache, fake, tmp_path)
    (first.engine.directory / PLAN).write_bytes(b"a plot")
    second = obtained(cache, fake, tmp_path)
    assert builds(fake) == 2
    assert not second.was_cached
    assert second.engine.plan == b"a plan"


def test_an_engine_of_others_is_neither_loaded_nor_replaced(cache, tmp_path):
    fake = FakeTensorrt()
    first = obtained(cache, fake, tmp_path)
    (first.engine.directory / PLAN).chmod(0o666)
    with pytest.raises(BackendUnavailable) as refusal:
        obtained(cache, fake, tmp_path)
    assert refusal.value.reason == Reason.ENGINE_UNTRUSTED
    assert builds(fake) == 1


def test_progress_names_network_and_gpu(cache, tmp_path):
    told: list[str] = []
    obtained(cache, FakeTensorrt(), tmp_path, told=told)
    assert told[0] == "looking for the engine of classifier"
    assert told[-1] == "building the engine of classifier for sm_87"


def test_a_disk_without_room_fails_before_the_build(cache, tmp_path, monkeypatch):
    class Full:
        free = 10

    monkeypatch.setattr("shutil.disk_usage", lambda _path: Full)
    fake = FakeTensorrt()
    with pytest.raises(BackendUnavailable, match="MiB left"):
        obtained(cache, fake, tmp_path)
    assert builds(fake) == 0


def test_tensorrt_rtx_does_not_strip_weights(tmp_path):
    options = CompileOptions(strip_weights=True)
    with pytest.raises(BackendUnavailable, match="without --strip-weights"):
        key_for(classifier_source(tmp_path), rtx_flavour(), TARGET, options)


def test_settings_become_options():
    settings = EnginesSettings(
        optimization_level=5, strip_weights=True, max_height_px=3000, max_width_px=2000
    )
    assert options_from_settings(settings, 6) == CompileOptions(
        max_batch=6,
        optimization_level=5,
        strip_weights=True,
        largest=LargestImage(height_px=3000, width_px=2000),
    )


def test_a_second_thread_waits_for_the_first_and_takes_its_engine(cache, tmp_path):
    source = classifier_source(tmp_path)
    waited = threading.Event()
    results = []

    class Slow(FakeTensorrt):
        def Builder(self, log):
            assert waited.wait(20)
            return super().Builder(log)

    slow, quick = Slow(), FakeTensorrt()
    key = key_for(source, slow.flavour(), TARGET, CompileOptions())

    def first():
        flavour = slow.flavour()
        results.append(
            obtained_engine(source, flavour, key, cache, lambda *_: started.set())
        )

    def progress(stage, _fraction):
        if stage.startswith("waiting for another process"):
            waited.set()

    started = threading.Event()
    thread = threading.Thread(target=first)
    thread.start()
    assert started.wait(20)
    while not _is_locked(cache):
        time.sleep(0.01)
    second = obtained_engine(source, quick.flavour(), key, cache, progress)
    thread.join(20)
    assert (builds(slow), builds(quick)) == (1, 0)
    assert second.was_cached
    assert second.engine.sha256 == results[0].engine.sha256


def test_the_wait_for_another_builder_can_be_ended(cache, tmp_path):
    source = classifier_source(tmp_path)
    fake = FakeTensorrt()
    key = key_for(source, fake.flavour(), TARGET, CompileOptions())

    def progress(stage, _fraction):
        if stage.startswith("waiting"):
            raise KeyboardInterrupt

    with (
        cache.building(key, lambda: None),
        pytest.raises(KeyboardInterrupt),
    ):
        obtained_engine(source, fake.flavour(), key, cache, progress)
    assert builds(fake) == 0


def test_a_failed_build_leaves_no_engine_and_no_lock(cache, tmp_path):
    with pytest.raises(BackendUnavailable):
        obtained(cache, FakeTensorrt(plan=None), tmp_path)
    assert obtained(cache, FakeTensorrt(), tmp_path).engine.plan == b"a plan"


BUILDER = """
import sys, time
from pathlib import Path
from support.compiling import classifier_source, key_of, rtx_flavour
from spinert.runtime.compiled.cache import EngineCache
from spinert.runtime.compiled.obtaining import obtained_engine
folder, name = Path(sys.argv[1]), sys.argv[2]
(folder / name).mkdir()
source = classifier_source(folder / name)
flavour = rtx_flavour()
told = set()

def progress(stage, fraction):
    word = stage.split()[0]
    if word not in told:
        told.add(word)
        (folder / f"{name}.{word}").touch()
    while word == "building" and fraction > 0.3 and not (folder / "go").exists():
        time.sleep(0.01)

key = key_of(source, flavour)
found = obtained_engine(source, flavour, key, EngineCache(folder / "engines"), progress)
print(found.was_cached, found.engine.sha256)
"""


@pytest.fixture
def start_builder(tmp_path):
    """Return what starts a process that builds, and stops half-way until `go`."""
    rtx_flavour()
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", BUILDER, str(tmp_path), name],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.01)


def test_two_processes_that_need_the_same_engine_build_it_once(tmp_path, start_builder):
    first = start_builder("first")
    wait_for(tmp_path / "first.building", first)
    second = start_builder("second")
    wait_for(tmp_path / "second.waiting", second)
    (tmp_path / "go").touch()
    built, _ = first.communicate(timeout=60)
    taken, _ = second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    assert built.split()[0] == "False"
    assert taken.split() == ["True", built.split()[1]]
    assert not (tmp_path / "second.building").exists()


def test_a_builder_that_is_killed_is_replaced_by_the_one_that_waits(
    tmp_path, start_builder
):
    first = start_builder("first")
    wait_for(tmp_path / "first.building", first)
    second = start_builder("second")
    wait_for(tmp_path / "second.waiting", second)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    wait_for(tmp_path / "second.building", second)
    (tmp_path / "go").touch()
    built, _ = second.communicate(timeout=60)
    assert built.split()[0] == "False"
    flavour = rtx_flavour()
    key = key_of(classifier_source(tmp_path), flavour)
    engine = EngineCache(tmp_path / "engines").load(key)
    assert engine is not None
    assert engine.sha256 == built.split()[1]


def test_what_another_network_needs_is_not_waited_for(cache, tmp_path):
    fake = FakeTensorrt()
    source = classifier_source(tmp_path)
    key = key_for(source, fake.flavour(), TARGET, CompileOptions())
    other = replace(key, role="detector")
    with cache.building(other, lambda: pytest.fail("waited")):
        assert obtained(cache, fake, tmp_path).engine.plan == b"a plan"


def _is_locked(cache: EngineCache) -> bool:
    return any(cache.root.glob("*.lock"))
