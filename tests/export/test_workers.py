"""Networks made in two processes: the same bundle, and nobody is left behind."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest
import torch
from support.onnx_files import (
    FLOAT,
    QUICK_RECIPE,
    FileBuilder,
    classifier_file,
    imported_files,
    yolo_file,
)

from spinert.export import pipeline, workers
from spinert.export.architecture import CLASSIFIER, DETECTOR
from spinert.export.architectures import ARCHITECTURES
from spinert.export.cache import ExportCache
from spinert.export.errors import CheckpointError, ParityError, WorkerError
from spinert.export.making import export_plan, torch_threads
from spinert.export.pipeline import Resources, export_bundle
from spinert.export.recipe import recipe_from_toml
from spinert.export.workers import WorkOrder, plan_key

RECIPE = QUICK_RECIPE.replace('["fp32"]', '["fp32", "fp16"]')
INPUTS = {"first.onnx", "yolo.onnx", "recipe.toml"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two small ONNX files and a recipe for them."""
    return imported_files(tmp_path, RECIPE).parent


def mixing_file(path: Path) -> Path:
    """Write a classifier whose answer depends on what shares the batch."""
    builder = FileBuilder()
    value = builder.patches("input", 3, 2, 0.03)
    value = builder.add("ReduceMean", value, axes=[2], keepdims=0)
    of_batch = builder.add("ReduceMean", value, axes=[0], keepdims=1)
    value = builder.add("Add", value, of_batch)
    builder.call(value, "answer")
    inputs = [("input", FLOAT, ["n", 3, "h", "w"])]
    return builder.save(path, inputs, [("answer", FLOAT, ["n", 2])])


def exported(folder: Path, name: str, *, count: int = 2, cache=None, tell=None):
    """Export; return what was told of the progress."""
    told: list[tuple[str, float]] = []

    def progress(text: str, fraction: float) -> None:
        told.append((text, fraction))
        if tell is not None:
            tell(text)

    resources = Resources(cache=cache, workers=count)
    export_bundle(folder / "recipe.toml", folder / name, progress, resources=resources)
    return told


def content(directory: Path) -> dict[str, bytes]:
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in paths}


def left(folder: Path) -> set[str]:
    assert multiprocessing.active_children() == []
    return {path.name for path in folder.iterdir()}


def test_two_processes_write_what_one_writes(folder, monkeypatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    kept = ExportCache(folder / "cache")
    seen: set[str] = set()

    def tell(_text: str) -> None:
        seen.update(p.name for p in multiprocessing.active_children())

    alone = exported(folder, "alone", count=1, tell=tell)
    assert seen == set()
    told = exported(folder, "beside", cache=kept, tell=tell)
    assert seen == {"export classifier"}
    assert content(folder / "beside") == content(folder / "alone")
    assert left(folder) == INPUTS | {"alone", "beside", "cache"}
    assert sorted(text for text, _ in told) == sorted(text for text, _ in alone)
    fractions = [fraction for _, fraction in told]
    assert all(one <= other for one, other in pairwise(fractions))
    assert fractions[0] == 0
    # The last network waits for the others before it takes the most memory.
    steps = [text for text, _ in told]
    others = [at for at, text in enumerate(steps) if text.startswith(CLASSIFIER)]
    assert max(others) < steps.index("detector: converting to FP16")
    assert dict(alone)["detector: weights"] == 0.3
    assert told[-2:] == [("writing bundle.json", 0.97), ("done", 1.0)]
    # Both are in the cache now, as if they had been made one after the other.
    for name, count in (("again", 1), ("again-beside", 2)):
        again = exported(folder, name, count=count, cache=kept)
        assert [text for text, _ in again if "kept from" in text] == [
            f"{role}: kept from an earlier export" for role in (CLASSIFIER, DETECTOR)
        ]
        assert content(folder / name) == content(folder / "alone")


class NoWorker:
    def __init__(self, *_: object) -> None:
        raise AssertionError("one network needs no process")


@pytest.mark.parametrize("changed", [classifier_file, yolo_file])
def test_one_network_is_made_in_this_process(folder, monkeypatch, changed) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    kept = ExportCache(folder / "cache")
    exported(folder, "first", count=1, cache=kept)
    if changed is classifier_file:
        classifier_file(folder / "first.onnx", seed=9)
    else:
        yolo_file(folder / "yolo.onnx", size=(128, 160))
    monkeypatch.setattr(pipeline, "NetworkWorker", NoWorker)
    told = [text for text, _ in exported(folder, "second", cache=kept)]
    assert sum("kept from" in text for text in told) == 1
    assert sum("converting to ONNX" in text for text in told) == 1
    exported(folder, "third", count=1)
    assert content(folder / "second") == content(folder / "third")


def test_what_fails_in_the_other_process_is_told_as_in_this_one(folder) -> None:
    mixing_file(folder / "first.onnx")
    messages = []
    named = r"classifier\.onnx: golden .+, batch 2"
    for count in (1, 2):
        with pytest.raises(ParityError, match=named) as caught:
            exported(folder, "bundle", count=count)
        messages.append(str(caught.value))
        assert left(folder) == INPUTS
    assert messages[0] == messages[1]


class Failing:
    """A process that fails while this one is at its first step."""

    ended = False

    def __init__(self, *_: object) -> None:
        pass

    def follow(self) -> None:
        raise ParityError("classifier.onnx: wrong")

    def end(self) -> None:
        Failing.ended = True


def test_a_failure_of_the_other_process_ends_this_one_at_its_next_step(
    folder, monkeypatch
) -> None:
    monkeypatch.setattr(pipeline, "NetworkWorker", Failing)
    steps: list[str] = []
    with pytest.raises(ParityError, match=r"classifier\.onnx: wrong"):
        exported(folder, "bundle", tell=steps.append)
    assert [step for step in steps if DETECTOR in step] == ["detector: weights"]
    assert Failing.ended
    assert left(folder) == INPUTS


def test_a_process_that_is_killed_is_named_with_the_way_out(folder) -> None:
    def kill(_text: str) -> None:
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGKILL)

    way_out = "classifier was ended by SIGKILL, .*; free some and export again"
    with pytest.raises(WorkerError, match=way_out):
        exported(folder, "bundle", tell=kill)
    assert left(folder) == INPUTS


def test_a_failure_here_ends_the_other_process(folder) -> None:
    def fail(text: str) -> None:
        if text.startswith(DETECTOR):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exported(folder, "bundle", tell=fail)
    assert left(folder) == INPUTS


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Take SIGINT, which background jobs of a shell ignore and pass on ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_while_the_other_process_starts_ends_it(folder, monkeypatch) -> None:
    started: list[int | None] = []
    start = SpawnProcess.start

    def interrupted(process: SpawnProcess) -> None:
        start(process)
        started.append(process.pid)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(SpawnProcess, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        exported(folder, "bundle")
    assert len(started) == 1
    assert left(folder) == INPUTS


def blocks_ctrl_c(process: int) -> bool:
    status = Path(f"/proc/{process}/status").read_text()
    blocked = next(line for line in status.splitlines() if line.startswith("SigBlk:"))
    return bool(int(blocked.split()[1], 16) & 1 << signal.SIGINT - 1)


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_both_processes_without_a_trace(folder) -> None:
    command = [sys.executable, "-m", "spinert", "export", "recipe.toml", "-o", "bundle"]
    with subprocess.Popen(
        [*command, "--no-cache"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        lines = iter(process.stderr.readline, "")
        assert any("detector: weights" in line for line in lines)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        assert [blocks_ctrl_c(int(child)) for child in children.split()] == [True] * 2
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 1
    assert "Traceback" not in rest
    assert left(folder) == INPUTS
    deadline = time.monotonic() + 60
    while not group_is_gone(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---------------------------------------------------- what a process answers, here


def order(folder: Path, **changes) -> WorkOrder:
    recipe = recipe_from_toml(folder / "recipe.toml")
    plan = export_plan(recipe, ARCHITECTURES)
    values = {
        "recipe": recipe,
        "role": CLASSIFIER,
        "folder": folder / "made",
        "key": plan_key(plan, CLASSIFIER),
        "threads": 1,
    }
    return WorkOrder(**{**values, **changes})


def answers(made: WorkOrder) -> list[object]:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    with receiver, sender:
        workers._work(made, sender)
        found = []
        while receiver.poll():
            found.append(receiver.recv())
    return found


def test_a_file_that_changes_during_the_export_is_not_mixed_in(folder) -> None:
    made = order(folder)
    classifier_file(folder / "first.onnx", seed=9)
    [failed] = answers(made)
    assert isinstance(failed.error, CheckpointError)
    assert "classifier: a file of the recipe was changed" in str(failed.error)
    assert not made.folder.exists()


def test_a_full_disk_in_the_other_process_is_an_error_of_the_system(
    folder, monkeypatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("spinert.export.making.write_outputs", full)
    *_, failed = answers(order(folder))
    assert isinstance(failed.error, OSError)
    assert failed.error.strerror == os.strerror(errno.ENOSPC)


def test_a_process_that_nobody_waits_for_ends(folder) -> None:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    receiver.close()
    with sender, pytest.raises(SystemExit):
        workers._work(order(folder), sender)


def test_a_process_computes_with_its_share_of_the_threads(folder) -> None:
    counts: list[int] = []

    class Counting:
        def send(self, _told: object) -> None:
            counts.append(torch.get_num_threads())

    with torch_threads(3):
        workers._work(order(folder, threads=2), Counting())
        assert torch.get_num_threads() == 3
    *steps, _made = counts
    assert set(steps) == {2}


def test_threads_are_divided_whether_or_not_there_is_another_process(folder) -> None:
    counts: list[int] = []

    def tell(text: str) -> None:
        if text.startswith((CLASSIFIER, DETECTOR)):
            counts.append(torch.get_num_threads())

    with torch_threads(4):
        exported(folder, "bundle", count=1, tell=tell)
        assert torch.get_num_threads() == 4
    assert set(counts) == {2}
