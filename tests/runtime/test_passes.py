from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest

from spinert.runtime.backends import Capabilities
from spinert.runtime.golden import GoldenMeasure, GoldenReport
from spinert.runtime.passes import PassKey, cpu_model, has_pass, store_pass

REPORT = GoldenReport(
    frames=3,
    batch_sizes=(1, 2, 5),
    measures=(
        GoldenMeasure(
            network="detector", output="boxes", measured_max_abs=1e-3, tolerance_abs=0.1
        ),
    ),
)
CAPABILITIES = Capabilities(
    name="onnxruntime",
    version="1.31.1",
    precision="fp32",
    device="cpu",
    threads=2,
    concurrent_networks=True,
)
KEY = PassKey(
    bundle_sha256="ab" * 32,
    capabilities=CAPABILITIES,
    runtime_version="0.1.0",
    machine="Some CPU x86_64",
)
OTHERS = {
    "bundle": replace(KEY, bundle_sha256="cd" * 32),
    "backend": replace(KEY, capabilities=replace(CAPABILITIES, name="other")),
    "version": replace(KEY, capabilities=replace(CAPABILITIES, version="1.32.0")),
    "precision": replace(KEY, capabilities=replace(CAPABILITIES, precision="bf16")),
    "threads": replace(KEY, capabilities=replace(CAPABILITIES, threads=1)),
    "runtime": replace(KEY, runtime_version="0.1.1"),
    "machine": replace(KEY, machine="Another CPU x86_64"),
}


def test_a_stored_pass_is_found_again(tmp_path):
    directory = tmp_path / "not" / "there" / "yet"
    assert not has_pass(directory, KEY, (1,))
    store_pass(directory, KEY, REPORT)
    assert has_pass(directory, KEY, (1, 2, 5))
    assert has_pass(directory, KEY, (2,))


@pytest.mark.parametrize("what", OTHERS)
def test_a_pass_is_good_for_exactly_one_combination(tmp_path, what):
    store_pass(tmp_path, KEY, REPORT)
    assert not has_pass(tmp_path, OTHERS[what], (1,))


def test_a_pass_does_not_cover_batch_sizes_that_were_not_run(tmp_path):
    store_pass(tmp_path, KEY, REPORT)
    assert not has_pass(tmp_path, KEY, (1, 4))


def damage(path, how):
    content = path.read_bytes()
    told = json.loads(content)
    damaged = {
        "empty": b"",
        "cut short": content[: len(content) // 2],
        "not JSON": b"\xff\xfe",
        "another shape": b"[]",
        "a number": b"1",
        "no report": json.dumps({"key": told["key"]}).encode(),
        "another key": content.replace(b"Some CPU", b"That CPU"),
    }
    path.write_bytes(damaged[how])


@pytest.mark.parametrize(
    "how",
    [
        "empty",
        "cut short",
        "not JSON",
        "another shape",
        "a number",
        "no report",
        "another key",
    ],
)
def test_a_damaged_file_is_no_pass_and_can_be_replaced(tmp_path, how):
    store_pass(tmp_path, KEY, REPORT)
    damage(KEY.path(tmp_path), how)
    assert not has_pass(tmp_path, KEY, (1,))
    store_pass(tmp_path, KEY, REPORT)
    assert has_pass(tmp_path, KEY, (1,))


def test_storing_leaves_nothing_else_behind(tmp_path):
    store_pass(tmp_path, KEY, REPORT)
    store_pass(tmp_path, KEY, REPORT)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [KEY.path(tmp_path)]


def test_a_directory_that_cannot_be_written_is_logged(tmp_path, caplog):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with caplog.at_level(logging.WARNING):
        store_pass(blocker, KEY, REPORT)
    assert "golden pass" in caplog.text
    assert not has_pass(blocker, KEY, (1,))


def test_the_processor_has_a_name():
    assert cpu_model().strip()
    assert cpu_model() == cpu_model()
