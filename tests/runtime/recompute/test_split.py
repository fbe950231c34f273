from __future__ import annotations

import builtins
import threading
from concurrent.futures import CancelledError

import numpy as np
import onnx
import pytest
from support.engines import (
    PATIENCE_S,
    GatedBackend,
    ManualClock,
    image,
    raw,
    request,
    running_engine,
)
from support.splits import (
    KEPT,
    PROPOSALS,
    REGIONS,
    regions_graph,
    split_spec,
    write_split_bundle,
)

from spinert.runtime.bundle import load_bundle
from spinert.runtime.engine.prepare import prepared_from_image
from spinert.runtime.errors import BackendError, BackendUnavailable, Reason
from spinert.runtime.recompute.pool import RecomputePool
from spinert.runtime.recompute.split import Recomputation, recomputation_from_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(write_split_bundle(tmp_path_factory.mktemp("split")))


def tensor(level=128):
    prepared = prepared_from_image(image(level), split_spec(), ["detector"])
    return prepared.inputs["detector"]


def with_files(directory, files):
    return load_bundle(write_split_bundle(directory, files))


def test_proposals_are_suppressed_between_the_two_graphs(bundle):
    given = tensor()
    found = Recomputation(bundle, "detector", 1).run(given)
    assert found.boxes[:4].tolist() == KEPT.tolist()
    assert not found.boxes[4:].any()
    # What the first graph saw reaches the second.
    assert found.scores == pytest.approx(given.pixels.mean() / 255, rel=1e-5)


def test_only_the_best_are_kept_where_the_bundle_keeps_fewer(tmp_path):
    spec = split_spec()
    spec.networks["detector"].detection.candidates = 3
    bundle = load_bundle(write_split_bundle(tmp_path, spec=spec))
    found = Recomputation(bundle, "detector", 1).run(tensor())
    assert found.boxes.tolist() == KEPT[:3].tolist()


def test_a_network_without_split_graphs_is_not_recomputed(bundle):
    assert recomputation_from_bundle(bundle, "classifier") is None
    assert recomputation_from_bundle(bundle, "detector") is not None


def unknown_operator():
    model = onnx.load_from_string(regions_graph(8))
    model.graph.node[0].op_type = "NoSuchOperator"
    return model.SerializeToString()


@pytest.mark.parametrize("content", [b"no graph", unknown_operator()], ids=len)
def test_the_graphs_are_loaded_only_when_they_are_needed(tmp_path, content):
    bundle = with_files(tmp_path, {REGIONS: content})
    found = Recomputation(bundle, "detector", 1)
    with pytest.raises(BackendUnavailable, match=r"detector\.regions\.onnx"):
        found.run(tensor())


def test_a_graph_that_fails_is_a_typed_error_without_its_text(tmp_path):
    bundle = with_files(tmp_path, {REGIONS: regions_graph(5)})
    with pytest.raises(BackendError) as caught:
        Recomputation(bundle, "detector", 1).run(tensor())
    assert caught.value.reason is Reason.NETWORK_FAILED
    assert "recomputed" in caught.value.message


def test_answers_that_cannot_be_are_refused(tmp_path):
    model = onnx.load_from_string(regions_graph(8))
    [most] = [c for c in model.graph.initializer if c.name == "most"]
    most.CopyFrom(onnx.numpy_helper.from_array(np.float32(1), "most"))
    bundle = with_files(tmp_path, {REGIONS: model.SerializeToString()})
    with pytest.raises(BackendError, match="scores outside"):
        Recomputation(bundle, "detector", 1).run(tensor())


def test_without_onnx_runtime_it_says_what_to_install(bundle, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(BackendUnavailable, match=r"pip install 'spinert\[cpu\]'"):
        Recomputation(bundle, "detector", 1).run(tensor())


def test_the_pool_says_what_computed_and_ends(bundle):
    pool = RecomputePool(bundle, 1)
    assert pool.can("detector")
    assert not pool.can("classifier")
    found = pool.submit("detector", tensor()).result(PATIENCE_S)
    assert found.backend.startswith("onnxruntime ")
    assert found.precision == "fp32"
    pool.close()
    pool.close()
    with pytest.raises(RuntimeError):
        pool.submit("detector", tensor())


def test_closing_drops_what_waits_and_ends_what_runs(bundle, monkeypatch):
    may_end = threading.Event()
    monkeypatch.setattr(Recomputation, "run", lambda *_: may_end.wait(PATIENCE_S))
    pool = RecomputePool(bundle, 1)
    running, waiting = (pool.submit("detector", tensor()) for _ in range(2))
    closing = threading.Thread(target=pool.close)
    closing.start()
    with pytest.raises(CancelledError):
        waiting.result(PATIENCE_S / 2)
    may_end.set()
    closing.join(PATIENCE_S)
    assert running.done()


def test_a_client_never_sees_that_a_graph_could_not_be_loaded(tmp_path, caplog):
    pool = RecomputePool(with_files(tmp_path, {PROPOSALS: b"no graph"}), 1)
    error = pool.submit("detector", tensor()).exception(PATIENCE_S)
    pool.close()
    assert isinstance(error, BackendError)
    assert error.reason is Reason.NETWORK_FAILED
    assert "detector.proposals.onnx" in caplog.text


class UnsettledBackend(GatedBackend):
    """Says of every bright frame that it did not converge, and answers nonsense."""

    def run(self, role, inputs):
        outputs = dict(super().run(role, inputs))
        if role == "detector":
            bright = inputs["image"].mean(axis=(1, 2, 3)) > 128
            outputs["status"] = bright.astype(np.int32)
            outputs["scores"][bright] = 0.99
        return outputs


def test_the_engine_answers_a_frame_that_did_not_converge(bundle):
    backend = UnsettledBackend()
    with running_engine(bundle, backend, clock=ManualClock(), max_delay_ms=0) as engine:
        bright = engine.submit(request(raw(250))).result(PATIENCE_S)
        dark = engine.submit(request(raw(20))).result(PATIENCE_S)
    # Three of the boxes that were kept lie apart; all have the same score.
    scores = {round(finding.score, 6) for finding in bright.verdict.findings}
    assert len(scores) == 1
    assert 0.5 < scores.pop() < 0.95
    assert {r.network: r.is_recomputed for r in bright.runs} == {
        "classifier": False,
        "detector": True,
    }
    assert not any(run.is_recomputed for run in dark.runs)
    assert "recompute.detector" in {s.name for s in bright.receipt.stages}
