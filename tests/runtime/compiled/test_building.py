"""Graphs become engines: for real with TensorRT-RTX, without any GPU."""

from __future__ import annotations

import logging
import threading
import traceback
from dataclasses import replace

import onnx
import pytest
from onnx import TensorProto, helper
from support import graphs
from support.compiling import classifier_source, detector_source, key_of, rtx_flavour

from spinert.runtime.compiled import building
from spinert.runtime.compiled.building import plan_from_onnx
from spinert.runtime.compiled.key import Target, sha256_of_file
from spinert.runtime.errors import BackendUnavailable, Reason


def built(source, progress=lambda _fraction: None, **changes):
    flavour = rtx_flavour()
    key = replace(key_of(source, flavour), **changes)
    return plan_from_onnx(flavour, source.onnx, source.network, key, progress)


def with_node(operator: str, **attributes) -> bytes:
    """Return the tiny classifier with one more node, `last`, before its output."""
    model = graphs.classifier()
    model.graph.node[-1].output[0] = "before"
    extra = attributes.pop("inputs", [])
    model.graph.node.append(
        helper.make_node(
            operator, ["before", *extra], ["logits"], name="last", **attributes
        )
    )
    return model.SerializeToString()


@pytest.mark.parametrize("source", [classifier_source, detector_source])
def test_a_network_becomes_an_engine_on_a_machine_without_a_gpu(source, tmp_path):
    plan = built(source(tmp_path))
    assert plan.content.nbytes > 10_000
    assert plan.seconds > 0
    assert plan.peak_rss_bytes > 2**20


def test_an_engine_is_built_for_the_capability_asked_for(tmp_path):
    source = classifier_source(tmp_path)
    plans = [bytes(built(source, target=Target(sm=sm)).content) for sm in ("86", "120")]
    assert plans[0] != plans[1]


def test_half_precision_is_what_the_graph_says(tmp_path):
    model = onnx.load_from_string(with_node("Cast", to=TensorProto.FLOAT))
    head = helper.make_node("Cast", ["pooled"], ["half"], to=TensorProto.FLOAT16)
    model.graph.node.insert(len(model.graph.node) - 2, head)
    model.graph.node[-2].input[0] = "half"
    weights = next(w for w in model.graph.initializer if w.name == "head")
    values = onnx.numpy_helper.to_array(weights).astype("float16")
    weights.CopyFrom(onnx.numpy_helper.from_array(values, "head"))
    source = classifier_source(tmp_path, model.SerializeToString())
    assert built(source, precision="fp16").content.nbytes > 10_000


def test_a_graph_of_mixed_types_is_refused_instead_of_being_cast(tmp_path):
    """Typing is strong: the product of float16 and float32 has no meaning."""
    model = onnx.load_from_string(with_node("Identity"))
    weights = next(w for w in model.graph.initializer if w.name == "head")
    values = onnx.numpy_helper.to_array(weights).astype("float16")
    weights.CopyFrom(onnx.numpy_helper.from_array(values, "head"))
    source = classifier_source(tmp_path, model.SerializeToString())
    with pytest.raises(BackendUnavailable) as refusal:
        built(source)
    assert refusal.value.reason == Reason.ENGINE_BUILD_FAILED


def test_an_unknown_operator_is_named_with_its_node(tmp_path):
    source = classifier_source(tmp_path, with_node("Frobnicate"))
    with pytest.raises(BackendUnavailable) as refusal:
        built(source)
    assert refusal.value.reason == Reason.ENGINE_BUILD_FAILED
    for word in ("'last'", "(Frobnicate)", "'classifier'", "onnxruntime-cuda"):
        assert word in refusal.value.message
    assert "\n" not in refusal.value.message


def test_adaptive_roi_align_is_sent_to_the_recipe(tmp_path):
    node = helper.make_node(
        "RoiAlign", ["x", "rois", "of"], ["y"], name="heads/pool", output_height=7
    )
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 16, 16]),
        helper.make_tensor_value_info("rois", TensorProto.FLOAT, [5, 4]),
        helper.make_tensor_value_info("of", TensorProto.INT64, [5]),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [5, 4, 7, 1])
    graph = helper.make_graph([node], "g", inputs, [output])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    source = detector_source(tmp_path, model.SerializeToString())
    with pytest.raises(BackendUnavailable, match="roi_sampling = 2") as refusal:
        built(source)
    assert "'heads/pool' (RoiAlign)" in refusal.value.message


def test_a_layer_without_a_kernel_is_named(tmp_path, caplog):
    """It parses, and fails when kernels are looked for."""
    node = helper.make_node
    model = graphs.detector()
    last = model.graph.node[-1]
    assert last.output[0] == "labels"
    last.output[0] = "raw"
    model.graph.node.extend(
        [
            node("Unsqueeze", ["scores", "one"], ["by_class"]),
            node("NonMaxSuppression", ["boxes", "by_class"], ["kept"], name="suppress"),
            node("ReduceMax", ["kept"], ["any"], keepdims=0),
            node("Mul", ["raw", "any"], ["labels"]),
        ]
    )
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    model.graph.initializer.append(one)
    source = detector_source(tmp_path, model.SerializeToString())
    caplog.set_level(logging.ERROR)
    with pytest.raises(BackendUnavailable, match="cannot compile layer 'suppress"):
        built(source)
    assert "no runners" in caplog.text


@pytest.mark.parametrize("content", [b"not a graph", b""])
def test_what_is_no_graph_is_refused(content, tmp_path):
    source = classifier_source(tmp_path)
    source.onnx.write_bytes(content)
    with pytest.raises(BackendUnavailable, match="export the bundle again"):
        built(source)


def test_a_damaged_graph_is_refused(tmp_path):
    model = graphs.classifier()
    model.graph.initializer[1].raw_data = b"123"
    source = classifier_source(tmp_path, model.SerializeToString())
    with pytest.raises(BackendUnavailable, match="damaged or of a newer ONNX"):
        built(source)


def test_a_node_without_a_name_is_found_by_its_number(tmp_path):
    model = graphs.classifier()
    model.graph.node[-1].input[0] = "nothing"
    source = classifier_source(tmp_path, model.SerializeToString())
    with pytest.raises(BackendUnavailable, match=r"'number 8' \(MatMul\)"):
        built(source)


def test_external_data_never_reach_the_parser(tmp_path, monkeypatch):
    model = graphs.classifier()
    location = model.graph.initializer[1].external_data.add()
    location.key, location.value = "location", "../weights.bin"
    model.graph.initializer[1].data_location = TensorProto.EXTERNAL
    source = classifier_source(tmp_path, model.SerializeToString())
    monkeypatch.setattr(building, "_definition", lambda *_: pytest.fail("was parsed"))
    with pytest.raises(BackendUnavailable, match="keeps tensors in other files"):
        built(source)


def test_a_graph_that_is_not_the_network_described_is_refused(tmp_path):
    source = classifier_source(tmp_path, graphs.classifier(3).SerializeToString())
    with pytest.raises(BackendUnavailable, match=r"not what the bundle describes: .*3"):
        built(source)


def test_a_file_exchanged_after_it_was_hashed_is_not_built(tmp_path):
    source = classifier_source(tmp_path)
    before = sha256_of_file(source.onnx)
    source.onnx.write_bytes(graphs.classifier(2).SerializeToString() + b"\x18\x01")
    with pytest.raises(BackendUnavailable, match=r"classifier.onnx changed"):
        built(source, onnx_sha256=before)


def test_progress_rises_from_nothing_to_all(tmp_path):
    told: list[float] = []
    built(detector_source(tmp_path), told.append)
    assert told == sorted(told)
    assert told[0] < 0.1
    assert told[-1] == 1.0
    assert len(set(told)) > 20


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_progress_raises_ends_the_build_and_comes_out(error, tmp_path):
    calls = []

    def stop(fraction):
        calls.append(fraction)
        if len(calls) == 5:
            raise error("enough")

    with pytest.raises(error, match="enough"):
        built(detector_source(tmp_path), stop)
    assert len(calls) == 5


def test_other_threads_go_on_while_an_engine_is_built(tmp_path):
    """The builder is in C++ between two steps; Python must not stand still there."""
    turns = []
    done = threading.Event()

    def work():
        while not done.is_set():
            turns.append(None)
            done.wait(0.001)

    other = threading.Thread(target=work)
    before_and_after = []
    other.start()
    try:
        built(detector_source(tmp_path), lambda _: before_and_after.append(len(turns)))
    finally:
        done.set()
        other.join()
    assert before_and_after[-1] - before_and_after[0] >= 3


def test_an_error_that_is_kept_keeps_no_builder_alive(tmp_path):
    """Whose end in the garbage collector may deadlock with TensorRT's own log."""
    source = classifier_source(tmp_path, with_node("NoSuchOperator"))
    with pytest.raises(BackendUnavailable) as caught:
        built(source)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert any(frame.f_code.co_name == "_compiled" for frame in frames)
    kept = [
        value
        for frame in frames[1:]
        for value in frame.f_locals.values()
        if type(value).__module__.startswith("tensorrt")
    ]
    assert not kept
