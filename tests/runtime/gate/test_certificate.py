from __future__ import annotations

import json
import logging
import os
from dataclasses import replace

import onnxruntime
import pytest
from support.golden import write_golden_bundle

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.fake import FakeBackend
from spinert.runtime.bundle import load_bundle
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.gate import certificate
from spinert.runtime.gate.certificate import Certificates, cpu_model
from spinert.runtime.gate.running import run_gate


class DescribedBackend(FakeBackend):
    """A fake backend with capabilities of the test's choice."""

    def __init__(self, **changes):
        super().__init__(BackendOptions())
        self.changes = changes

    @property
    def capabilities(self):
        return replace(super().capabilities, **self.changes)


class BackendWithEngines(DescribedBackend):
    def __init__(self, cache, keys=("one", "two"), built="ab"):
        super().__init__()
        self.cache, self.keys, self.built = cache, keys, built

    @property
    def engine_sha256s(self):
        return dict.fromkeys(("classifier", "detector"), self.built)

    @property
    def engine_directories(self):
        roles = ("classifier", "detector")
        return {
            role: self.cache / key for role, key in zip(roles, self.keys, strict=True)
        }


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(write_golden_bundle(tmp_path_factory.mktemp("golden")))


@pytest.fixture(scope="module")
def report(bundle):
    backend = DescribedBackend()
    load_networks(backend, bundle)
    return run_gate(bundle, backend, (1, 2, 3), lambda *_: None)


@pytest.fixture
def state(tmp_path):
    return tmp_path / "not" / "there" / "yet"


@pytest.fixture
def stored(bundle, report, state):
    found = Certificates(bundle, DescribedBackend(), state)
    found.store(report)
    return found


def test_a_stored_certificate_is_found_again(bundle, report, state):
    found = Certificates(bundle, DescribedBackend(), state)
    assert not found.cover((1,))
    found.store(report)
    for sizes in [(1, 2, 3), (2,)]:
        assert found.cover(sizes)
        assert Certificates(bundle, DescribedBackend(), state).cover(sizes)


def test_it_says_where_half_precision_was_emulated(bundle, report, state):
    half = {"name": "onnxruntime", "precision": "fp16"}
    found = Certificates(bundle, DescribedBackend(**half), state)
    found.store(report)
    for path in found.paths():
        told = json.loads(path.read_bytes())
        assert told["precision_text"] == "FP16, emulated on CPU"


def test_it_says_what_was_measured_where_and_when(stored, bundle, report):
    classifier, detector = (json.loads(p.read_bytes()) for p in stored.paths())
    assert classifier["key"]["bundle_sha256"] == bundle.sha256
    assert classifier["key"]["machine"] == cpu_model()
    assert classifier["key"]["capabilities"]["precision"] == "fp32"
    assert classifier["created_at"].startswith("20")
    assert detector["batch_sizes"] == [1, 2, 3]
    [gate] = detector["gates"]
    assert [m["output"] for m in gate["measures"]] == ["boxes", "labels", "scores"]
    assert gate["decision_flips"] == 0
    assert gate["seconds"] == report.networks[1].seconds


OTHERS = {
    "backend": {"name": "other"},
    "version": {"version": "2"},
    "precision": {"precision": "fp16"},
    "device": {"device": "another GPU, driver 1"},
    "threads": {"threads": 7},
    "operators": {"operators": ("RoiAlign",)},
    "variant": {"variant": "CUDA graphs"},
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_certificate_is_good_for_exactly_one_backend(stored, bundle, state, what):
    other = DescribedBackend(**OTHERS[what])
    assert not Certificates(bundle, other, state).cover((1,))


def test_operators_are_part_of_the_key_and_can_be_found_again(bundle, report, state):
    backend = DescribedBackend(operators=("RoiAlign",))
    Certificates(bundle, backend, state).store(report)
    assert Certificates(bundle, backend, state).cover((1, 2, 3))


def test_a_certificate_is_good_for_exactly_one_bundle(stored, bundle, state):
    other = replace(bundle, sha256="cd" * 32)
    assert not Certificates(other, DescribedBackend(), state).cover((1,))


@pytest.mark.parametrize("what", ["__version__", "cpu_model", "cpu_features"])
def test_another_version_or_processor_has_to_prove_itself(
    stored, bundle, state, monkeypatch, what
):
    value = "9" if what == "__version__" else lambda: "Some other CPU"
    monkeypatch.setattr(certificate, what, value)
    assert not Certificates(bundle, DescribedBackend(), state).cover((1,))


def test_a_certificate_does_not_cover_batch_sizes_that_were_not_run(stored):
    assert not stored.cover((1, 2, 3, 4))


def test_every_network_needs_its_own(stored):
    stored.paths()[1].unlink()
    assert not stored.cover((1,))


def damaged(content, how):
    told = json.loads(content)
    if how == "no measures":
        told["gates"][0]["measures"] = []
    if how == "out of tolerance":
        told["gates"][0]["measures"][0]["measured_max_abs"] = 1.0
    if how == "not a number":
        told["gates"][0]["measures"][0]["measured_max_abs"] = float("nan")
    if how == "another key":
        told["key"]["machine"] = "That CPU"
    if how == "no key":
        del told["key"]
    return {
        "empty": b"",
        "cut short": content[: len(content) // 2],
        "not JSON": b"\xff\xfe",
        "another shape": b"[]",
        "a number": b"1",
        "too long": content + b" " * 2**20,
    }.get(how, json.dumps(told).encode())


@pytest.mark.parametrize(
    "how",
    [
        "empty",
        "cut short",
        "not JSON",
        "another shape",
        "a number",
        "too long",
        "no measures",
        "out of tolerance",
        "not a number",
        "another key",
        "no key",
    ],
)
def test_a_damaged_file_is_no_certificate_and_can_be_replaced(stored, report, how):
    path = stored.paths()[0]
    path.write_bytes(damaged(path.read_bytes(), how))
    assert not stored.cover((1,))
    stored.store(report)
    assert stored.cover((1,))


def test_it_is_for_this_user_alone(stored):
    for path in stored.paths():
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def writable(path):
    path.chmod(0o620)


def directory_writable(path):
    path.parent.chmod(0o777)


def link(path):
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def second_name(path):
    os.link(path, path.with_name("second"))


def a_pipe(path):
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    "change", [writable, directory_writable, link, second_name, a_pipe]
)
def test_what_others_could_have_written_is_no_certificate(stored, change, caplog):
    change(stored.paths()[0])
    assert not stored.cover((1,))
    assert "others may write" in caplog.text


def test_storing_leaves_nothing_else_behind(stored, report, state):
    stored.store(report)
    files = sorted(path for path in state.rglob("*") if path.is_file())
    assert files == sorted(stored.paths())


def test_a_directory_that_cannot_be_written_is_logged(tmp_path, bundle, report, caplog):
    blocker = tmp_path / "file"
    blocker.write_text("")
    found = Certificates(bundle, DescribedBackend(), blocker)
    with caplog.at_level(logging.WARNING):
        found.store(report)
    assert "cannot store the certificate" in caplog.text
    assert not found.cover((1,))


def test_without_a_place_nothing_is_stored(bundle, report):
    found = Certificates(bundle, DescribedBackend(), None)
    assert not found.can_be_stored
    found.store(report)
    assert not found.cover((1,))


def test_the_certificate_of_an_engine_lies_beside_it(bundle, report, tmp_path):
    backend = BackendWithEngines(tmp_path)
    found = Certificates(bundle, backend, None)
    assert found.can_be_stored
    found.store(report)
    assert [path.parent.name for path in found.paths()] == ["one", "two"]
    keys = [json.loads(path.read_bytes())["key"] for path in found.paths()]
    assert [key["engine_key"] for key in keys] == ["one", "two"]
    assert found.cover((1, 2, 3))
    assert not Certificates(
        bundle, BackendWithEngines(tmp_path, ("one", "three")), None
    ).cover((1,)), "another engine has to prove itself"


def test_one_engine_may_have_certificates_of_two_bundles(bundle, report, tmp_path):
    backend = BackendWithEngines(tmp_path)
    other = replace(bundle, sha256="cd" * 32)
    for each in (bundle, other):
        Certificates(each, backend, None).store(report)
    for each in (bundle, other):
        assert Certificates(each, backend, None).cover((1,))


def test_the_processor_has_a_name():
    assert cpu_model().strip()
    assert cpu_model() == cpu_model()


def test_another_build_of_the_same_engine_has_to_prove_itself(bundle, report, tmp_path):
    first = BackendWithEngines(tmp_path)
    Certificates(bundle, first, None).store(report)
    assert Certificates(bundle, first, None).cover((1,))
    again = BackendWithEngines(tmp_path, built="cd")
    assert not Certificates(bundle, again, None).cover((1,))


def test_another_onnx_runtime_has_to_prove_that_it_recomputes_frames(
    bundle, report, state, monkeypatch
):
    spec = pb.Bundle.FromString(bundle.spec.SerializeToString())
    spec.networks["detector"].split.proposals = "first.onnx"
    split = replace(bundle, spec=spec)
    Certificates(split, DescribedBackend(), state).store(report)
    assert Certificates(split, DescribedBackend(), state).cover((1,))
    monkeypatch.setattr(onnxruntime, "__version__", "1.99.0")
    assert not Certificates(split, DescribedBackend(), state).cover((1,))


@pytest.mark.parametrize("name", ["flags", "Features"])
def test_instruction_sets_are_told_apart_whatever_their_order(
    name, tmp_path, monkeypatch
):
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(certificate, "_CPUINFO", info)
    digests = []
    for features in ("sse avx2", "avx2 sse", "sse avx2 avx512f"):
        info.write_text(f"processor\t: 0\n{name}\t\t: {features}\nbugs : none\n")
        digests.append(certificate.cpu_features())
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]
