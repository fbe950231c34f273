"""A bundle that is not exactly what was exported is refused before it is loaded."""

from __future__ import annotations

import os

import pytest
from support.bundles import tiny_spec, write_bundle, write_tiny_bundle

from spinert.proto.bundle_rules import broken_rules
from spinert.runtime.bundle import load_bundle
from spinert.runtime.errors import BundleError, Reason

DETECTOR = "networks/detector.onnx"


def refused(directory, **options):
    with pytest.raises(BundleError) as caught:
        load_bundle(directory, **options)
    return caught.value


def test_a_whole_bundle_loads(tmp_path):
    bundle = load_bundle(write_tiny_bundle(tmp_path))
    assert bundle.spec.name == "tiny"
    assert bundle.spec.networks["detector"].file == DETECTOR
    assert len(bundle.sha256) == 64


def test_a_missing_bundle_says_how_to_make_one(tmp_path):
    error = refused(tmp_path / "nothing")
    assert error.reason is Reason.BUNDLE_MISSING
    assert "spinert export" in error.message


def test_one_flipped_bit_is_found(tmp_path):
    write_tiny_bundle(tmp_path)
    (tmp_path / DETECTOR).write_bytes(b"fakd")
    assert refused(tmp_path).reason is Reason.BUNDLE_HASH_MISMATCH
    assert load_bundle(tmp_path, check_hashes=False).spec.name == "tiny"


@pytest.mark.parametrize("content", [b"fak", b"fakes"])
def test_a_file_of_another_size_is_found_without_hashing(tmp_path, content):
    write_tiny_bundle(tmp_path)
    (tmp_path / DETECTOR).write_bytes(content)
    error = refused(tmp_path, check_hashes=False)
    assert error.reason is Reason.BUNDLE_HASH_MISMATCH


def test_a_missing_file_is_found(tmp_path):
    write_tiny_bundle(tmp_path)
    (tmp_path / DETECTOR).unlink()
    assert "missing" in refused(tmp_path).message


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_links_are_refused(tmp_path, link):
    write_tiny_bundle(tmp_path / "bundle")
    outside = tmp_path / "outside"
    outside.write_bytes(b"fake")
    (tmp_path / "bundle" / DETECTOR).unlink()
    link(outside, tmp_path / "bundle" / DETECTOR)
    assert "regular file" in refused(tmp_path / "bundle").message


def test_an_unlisted_file_is_refused(tmp_path):
    write_tiny_bundle(tmp_path)
    (tmp_path / "networks" / "weights.bin").write_bytes(b"?")
    assert "networks/weights.bin" in refused(tmp_path).message


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"format": "x"}', '{"unknown": 1}', "\xff", "{" * 100]
)
def test_a_manifest_that_does_not_follow_the_schema_is_refused(tmp_path, text):
    (tmp_path / "bundle.json").write_bytes(text.encode("latin-1"))
    assert refused(tmp_path).reason is Reason.BUNDLE_INVALID


def test_the_example_spec_breaks_no_rule(tmp_path):
    bundle = load_bundle(write_tiny_bundle(tmp_path))
    assert broken_rules(bundle.spec) == []


def test_the_first_broken_rule_is_told(tmp_path):
    spec = tiny_spec()
    spec.decision.threshold = 1.5
    error = refused(write_tiny_bundle(tmp_path, spec))
    assert error.reason is Reason.BUNDLE_INVALID
    assert "decision.threshold: must lie in (0, 1); export" in error.message


def test_a_golden_frame_needs_its_files(tmp_path):
    spec = tiny_spec()
    spec.golden.frames.add(name="one", image="golden/one.png")
    files = {"networks/classifier.onnx": b"", DETECTOR: b""}
    error = refused(write_bundle(tmp_path, spec, files))
    assert "golden/one.png" in error.message
