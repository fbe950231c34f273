"""How SpineRT is compared with other servers."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.bundle import load_bundle


@pytest.fixture
def asked(program, tmp_path):
    """Return a question to the network that takes the mean of an image."""
    networks = program("peer_networks")
    path = tmp_path / "mean.onnx"
    path.write_bytes(networks.mean_network())
    return networks.question_from_network(path)


def test_a_question_has_the_type_and_shape_that_the_network_takes(
    program, asked, tmp_path
):
    assert (asked.image.shape, asked.datatype) == ((1, 3, 224, 224), "FP32")
    assert asked.logit == pytest.approx(asked.image.mean(), abs=1e-5)
    grey = program("tiny_bundle").write_tiny_bundle(tmp_path / "b", 32, 1)
    network = grey / "networks" / "classifier.onnx"
    with pytest.raises(ValueError, match="takes images of any size"):
        program("peer_networks").question_from_network(network)


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda logit: struct.pack("<f", logit),
        lambda logit: b"\x0a\x05model" + struct.pack("<f", logit) + b"\x00",
        lambda logit: f'{{"logits": [{logit:.6f}]}}'.encode(),
        lambda logit: f"[{logit:.6e}]".encode(),
    ],
)
def test_an_answer_is_right_however_it_is_wrapped(asked, wrapped):
    assert asked.is_answered_by(wrapped(asked.logit))
    assert not asked.is_answered_by(wrapped(asked.logit + 0.01))


def test_no_answer_is_no_right_answer(asked):
    assert not asked.is_answered_by(b"")


def test_a_classifier_of_its_own_is_stated_as_it_takes_images(program, tmp_path):
    tiny, networks = program("tiny_bundle"), program("peer_networks")
    given = tiny.write_tiny_bundle(
        tmp_path / "mean", 224, 1, classifier=networks.mean_network()
    )
    stated = load_bundle(given).spec.networks["classifier"].input
    assert stated.element_type == pb.ELEMENT_FLOAT32
    assert list(stated.mean) == [0, 0, 0]
    plain = tiny.write_tiny_bundle(tmp_path / "plain", 32, 1)
    kept = tiny.write_tiny_bundle(
        tmp_path / "kept",
        32,
        1,
        classifier=(plain / "networks" / "classifier.onnx").read_bytes(),
    )
    own, same = (load_bundle(path).spec for path in (plain, kept))
    assert own.networks["classifier"] == same.networks["classifier"]


class Stopped:
    """A server that is only stopped and resumed."""

    def __init__(self) -> None:
        self.is_paused = False

    def pause(self, is_paused):
        self.is_paused = is_paused


def answering(peers, turns, fails=()):
    """Return what stands in for a turn: nine answers in three seconds, or none."""

    def turn(name, subject, asked, seconds):
        turns.append(name)
        if name in fails and len(turns) > len(fails) + 1:
            raise OSError("connection reset")
        way = peers.Way(name="raw", client="HTTP", ask=None)
        done = peers.Round(answers=9, seconds=3.0, first=b"")
        return [(way, done, 0.02)]

    return turn


def test_servers_are_asked_in_turn_and_the_order_changes(program, monkeypatch):
    peers, turns = program("bench_peers"), []
    monkeypatch.setattr(peers, "_turn", answering(peers, turns))
    subjects = {"ours": Stopped(), "mosec": Stopped()}
    series, failed = peers._rounds(subjects, None, 2, 1.0)
    # The first ones warm up.
    assert turns == ["ours", "mosec", "mosec", "ours", "ours", "mosec"]
    assert list(series) == ["ours raw", "mosec raw"]
    assert series["ours raw"].per_s == [3.0, 3.0]
    assert series["ours raw"].cpu_ms == pytest.approx([2.0, 2.0])
    assert failed == {}


def test_a_peer_that_fails_under_load_is_told_and_stops_nobody(program, monkeypatch):
    peers, turns = program("bench_peers"), []
    monkeypatch.setattr(peers, "_turn", answering(peers, turns, fails=("mosec",)))
    subjects = {"ours": Stopped(), "mosec": Stopped()}
    series, failed = peers._rounds(subjects, None, 2, 1.0)
    assert turns == ["ours", "mosec", "mosec", "ours", "ours"]
    assert list(series) == ["ours raw"]
    assert failed == {"mosec": "failed under load: connection reset"}
    assert subjects["mosec"].is_paused
    monkeypatch.setattr(peers, "_turn", answering(peers, [], fails=("ours",)))
    with pytest.raises(OSError, match="reset"):
        peers._rounds(subjects, None, 2, 1.0)


@pytest.mark.slow
def test_spinert_is_asked_and_its_answers_are_checked(program, asked, tmp_path):
    peers = program("bench_peers")
    wrong = peers.Question(network=asked.network, image=asked.image, logit=9.0)
    with peers._same_network(asked, (), tmp_path)["spinert-kserve"]() as subject:
        subjects = {"spinert-kserve": subject}
        found, _ = peers._rounds(subjects, asked, rounds=1, seconds=0.2)
        with pytest.raises(RuntimeError, match="answers otherwise"):
            peers._rounds(subjects, wrong, rounds=1, seconds=0.2)
    assert set(found) == {"spinert-kserve streamed", "spinert-kserve unary"}
    assert all(one.per_s[0] > 0 and one.cpu_ms[0] > 0 for one in found.values())


def test_a_peer_that_ends_at_once_is_absent_with_its_reason(
    program, asked, tmp_path, monkeypatch
):
    peers, subjects = program("bench_peers"), program("peer_subjects")
    made = tmp_path / "peers" / "mosec"
    (made / "bin").mkdir(parents=True)
    needed = subjects.HERE / "peers" / "mosec" / "requirements.txt"
    (made / ".made-from").write_bytes(needed.read_bytes())
    python = made / "bin" / "python"
    python.write_text(f"#!{sys.executable}\nraise SystemExit('no such library')\n")
    python.chmod(0o755)
    monkeypatch.setenv("SPINERT_PEERS", str(tmp_path / "peers"))
    makers = peers._same_network(asked, ("mosec",), tmp_path)
    found = peers._compared({"mosec": makers["mosec"]}, asked, 1, 0.1)
    assert found["absent"].keys() == {"mosec"}
    assert found["absent"]["mosec"].endswith("its log ends with: no such library")
    assert found["series"] == {}


def test_every_peer_runs_whatever_network_it_is_given(program):
    """Shape and type come from the file: no server names them."""
    servers = sorted((program("harness").HERE / "peers").glob("*/server.py"))
    assert len(servers) == 6
    for server in servers:
        text = server.read_text()
        assert "OnnxNetwork(" in text, server
        assert "224" not in text, server


def test_the_network_of_the_peers_answers_like_onnx_runtime(program, asked):
    networks = program("peer_networks")
    served = networks.OnnxNetwork(str(asked.network))
    image = served.image(asked.pixels)
    assert image.shape == (3, 224, 224)
    batch = np.stack([image, image])
    assert served.run(batch)[:, 0] == pytest.approx([asked.logit] * 2, abs=1e-6)
