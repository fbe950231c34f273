"""A bundle that is not exactly what was exported is refused before it is loaded."""

from __future__ import annotations

import os

import pytest
from support.bundles import tiny_spec, write_bundle, write_tiny_bundle

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.bundle import load_bundle
from spinert.runtime.bundle_rules import broken_rules
from spinert.runtime.errors import BundleError, Reason

DETECTOR = "networks/detector.onnx"


def refused(directory, **options):
    with pytest.raises(BundleError) as caught:
        load_bundle(directory, **options)
    return caught.value


def test_a_whole_bundle_loads(tmp_path):
    bundle = load_bundle(write_tiny_bundle(tmp_path))
    assert bundle.spec.name == "tiny"
    assert bundle.network_path("detector") == tmp_path / DETECTOR
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


BREAKS = {
    "format": lambda s: setattr(s, "format", 2),
    "name": lambda s: setattr(s, "name", ""),
    "voi": lambda s: s.grey.ClearField("voi"),
    "classifier": lambda s: s.networks.pop("classifier"),
    "detector": lambda s: s.networks.pop("detector"),
    "members": lambda s: s.networks["classifier"].ClearField("members"),
    "how many": lambda s: s.networks["detector"].ClearField("detection"),
    "OUTPUT_CANDIDATES": lambda s: setattr(
        s.networks["detector"], "output", pb.OUTPUT_LOGITS
    ),
    "resampler": lambda s: s.networks["detector"].input.ClearField("resampler"),
    "policy": lambda s: s.networks["detector"].input.ClearField("canvas"),
    "per channel": lambda s: s.networks["detector"].input.mean.append(1),
    "positive": lambda s: s.networks["detector"].input.std.__setitem__(0, 0),
    "one weight": lambda s: setattr(s.combination, "rule", pb.COMBINATION_WEIGHTED),
    "add up": lambda s: s.combination.MergeFrom(
        pb.Combination(rule=pb.COMBINATION_WEIGHTED, weights=[0.5, 0.6])
    ),
    "probability_clip": lambda s: setattr(s.combination, "probability_clip", 0.5),
    "threshold": lambda s: setattr(s.decision, "threshold", 1.5),
    "uncertain_from": lambda s: setattr(s.decision, "uncertain_from", 0.9),
    "fusion.rule": lambda s: s.fusion.ClearField("rule"),
    "fusion.comparison": lambda s: s.fusion.ClearField("comparison"),
    "classes": lambda s: s.ClearField("classes"),
    "not in files": lambda s: setattr(s.networks["detector"], "file", "other.onnx"),
}


@pytest.mark.parametrize("words", BREAKS)
def test_every_rule_is_checked(tmp_path, words):
    spec = tiny_spec()
    BREAKS[words](spec)
    assert words in refused(write_tiny_bundle(tmp_path, spec)).message


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a//b", "./a"])
def test_paths_that_leave_the_bundle_are_refused(path):
    spec = tiny_spec()
    spec.files.add(path=path)
    assert any("inside the bundle" in rule for rule in broken_rules(spec))


def test_a_golden_frame_needs_its_files(tmp_path):
    spec = tiny_spec()
    spec.golden.frames.add(name="one", image="golden/one.png")
    files = {"networks/classifier.onnx": b"", DETECTOR: b""}
    error = refused(write_bundle(tmp_path, spec, files))
    assert "golden/one.png" in error.message
