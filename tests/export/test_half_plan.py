"""What stays in float32: one planted problem at a time, each caught with its reason."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.half_graphs import GraphBuilder, feed_of, outputs_of

from spinert.export.errors import GraphError
from spinert.export.half.conversion import HalfGraph, half_from_single
from spinert.export.half.emulation import rounding_model
from spinert.export.half.folding import folded_norms

FEEDS = [feed_of(seed=seed) for seed in range(3)]


def converted(model: onnx.ModelProto) -> HalfGraph:
    half = half_from_single(model, FEEDS)
    onnx.checker.check_model(half.model, full_check=True)
    return half


def reasons(half: HalfGraph) -> dict[str, str]:
    return {node.node.removeprefix("to_"): node.reason for node in half.kept}


def differences(model: onnx.ModelProto, half: HalfGraph) -> dict[str, float]:
    rounding = rounding_model(half.model)
    worst: dict[str, float] = {}
    for feed in FEEDS:
        before, after = outputs_of(model, feed), outputs_of(rounding, feed)
        for name, values in before.items():
            gap = float(np.abs(values - after[name]).max())
            worst[name] = max(worst.get(name, 0.0), gap)
    return worst


def test_between_convolutions_everything_is_half() -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[1.0], [0.5]])
    build.add("Relu", ["c1"], "r1")
    build.add("MaxPool", ["r1"], "p1", kernel_shape=[2, 2], strides=[2, 2])
    build.conv("p1", "logits", [[0.3, 0.7]])
    half = converted(build.model(logits=4))
    assert reasons(half).keys() == {"cast", "grey"}
    assert (half.half_nodes, half.casts) == (4, 2)
    assert 0 < differences(build.model(logits=4), half)["logits"] < 1e-3


def test_inputs_and_outputs_keep_their_names_and_types() -> None:
    build = GraphBuilder()
    build.conv("grey", "logits", [[1.0]])
    half = converted(build.model(logits=4)).model
    assert [value.name for value in half.graph.input] == ["image", "image_size"]
    types = [v.type.tensor_type.elem_type for v in half.graph.input]
    assert types == [TensorProto.UINT8, TensorProto.INT32]
    assert half.graph.output[0].name == "logits"
    assert half.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


def large_and_back() -> onnx.ModelProto:
    build = GraphBuilder()
    build.conv("grey", "c1", [[1e5]])
    build.conv("c1", "c2", [[1e-5]])
    build.conv("c2", "logits", [[2.0]])
    return build.model(logits=4)


def test_an_activation_beyond_half_keeps_its_maker_and_its_reader() -> None:
    half = converted(large_and_back())
    found = reasons(half)
    assert found.keys() == {"cast", "grey", "c1", "c2"}
    assert found["c1"].startswith("weights: max |c1.w| = 1e+05 is beyond")
    assert found["c2"].startswith("weights: max |c2.w| = 1e-05 is below")


@pytest.mark.parametrize("brightness", [1e5, 4e4])
def test_an_activation_above_the_limit_is_found_by_measuring(brightness) -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[np.sqrt(brightness)]])
    build.conv("c1", "c2", [[np.sqrt(brightness)]])
    build.add("Relu", ["c2"], "r2")
    build.conv("r2", "c3", [[1e-3]])
    build.conv("c3", "logits", [[1.0]])
    found = reasons(converted(build.model(logits=4)))
    assert found.keys() == {"cast", "grey", "c2", "r2", "c3"}
    assert found["c2"].startswith("range: max |x| = ")
    assert "above 3e+04" in found["c2"]


def test_an_activation_that_is_too_small_is_found_by_measuring() -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[0.01]])
    build.conv("c1", "c2", [[0.01]])
    build.conv("c2", "c3", [[100.0]])
    build.conv("c3", "logits", [[100.0]])
    found = reasons(converted(build.model(logits=4)))
    assert found.keys() == {"cast", "grey", "c2", "c3"}
    assert "below 0.000977" in found["c2"]


@pytest.mark.parametrize("variance", [1e8, 1e-8])
def test_a_norm_behind_a_convolution_disappears_into_it(variance) -> None:
    scale = np.sqrt(variance)
    build = GraphBuilder()
    build.conv("grey", "c1", [[scale]])
    build.norm("c1", "n1", (1.5, 0.25, 0.5 * scale, variance))
    build.conv("n1", "logits", [[1.0]])
    model = build.model(logits=4)
    half = converted(model)
    operators = [node.op_type for node in half.model.graph.node]
    assert "BatchNormalization" not in operators
    assert operators.count("Conv") == 2
    assert reasons(half).keys() == {"cast", "grey"}
    assert 0 < differences(model, half)["logits"] < 2e-3


def test_a_convolution_that_others_read_too_keeps_its_filters() -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[4.0]])
    build.norm("c1", "n1", (1.5, 0.25, 1.0, 4.0))
    build.add("Add", ["c1", "n1"], "a1")
    build.conv("a1", "logits", [[1.0]])
    model = build.model(logits=4)
    assert 0 < differences(model, converted(model))["logits"] < 2e-2


def test_a_norm_in_front_of_a_convolution_becomes_an_affine_map() -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[3e3]])
    build.add("Relu", ["c1"], "r1")
    build.norm("r1", "n1", (1.0, 0.5, 1.5e3, 1e6))
    build.conv("n1", "logits", [[1.0]])
    model = build.model(logits=4)
    half = converted(model)
    operators = [node.op_type for node in half.model.graph.node]
    assert operators.count("Mul") == 2
    assert operators.count("Add") == 1
    assert reasons(half).keys() == {"cast", "grey"}
    assert 0 < differences(model, half)["logits"] < 5e-3


def test_a_norm_that_magnifies_small_changes_stays_with_what_it_reads() -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[1e-3]])
    build.add("Add", ["c1", build.weight("one", [1.0])], "a1")
    build.add("Relu", ["a1"], "r1")
    build.norm("r1", "n1", (1.0, 0.0, 1.0005, 1e-7))
    build.conv("n1", "logits", [[1.0]])
    model = build.model(logits=4)
    half = converted(model)
    found = reasons(half)
    assert "times smaller than its terms" in found["n1"]
    assert {"a1", "r1", "n1"} <= found.keys()
    assert differences(model, half)["logits"] < 5e-3


def test_what_is_copied_from_large_values_is_large() -> None:
    build = GraphBuilder()
    build.add("Mul", ["grey", build.weight("gain", [1e5])], "bright")
    build.add("Relu", ["bright"], "r1")
    build.conv("r1", "c1", [[1e-3]])
    build.conv("c1", "logits", [[1.0]])
    assert "above 3e+04" in reasons(converted(build.model(logits=4)))["c1"]


def test_a_half_tensor_that_float32_nodes_share_is_cast_once() -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[1.0]])
    build.add("Exp", ["c1"], "e1")
    build.add("Sqrt", ["c1"], "s1")
    build.add("Mul", ["e1", "s1"], "logits")
    assert converted(build.model(logits=4)).casts == 2


def test_reading_the_size_of_a_half_tensor_needs_no_cast() -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[1.0]])
    build.add("Shape", ["c1"], "shape")
    build.conv("c1", "c2", [[1.0]])
    build.add("Reshape", ["c2", "shape"], "same")
    build.conv("same", "logits", [[1.0]])
    half = converted(build.model(logits=4))
    assert reasons(half).keys() == {"cast", "grey"}
    assert half.casts == 2


def test_a_weight_that_both_precisions_read_is_stored_in_both() -> None:
    build = GraphBuilder()
    shared = build.weight("shared", np.full((1, 1, 1, 1), 0.1))
    build.add("Mul", ["grey", shared], "dark")
    build.add("Conv", ["dark", shared], "logits")
    half = converted(build.model(logits=4))
    stored = {item.name: item.data_type for item in half.model.graph.initializer}
    assert stored["shared"] == TensorProto.FLOAT
    assert stored["shared.fp16"] == TensorProto.FLOAT16
    assert "unit.fp16" not in stored


def coordinates() -> onnx.ModelProto:
    """Return a detector whose boxes lie beyond 2048, where half has steps of 2."""
    build = GraphBuilder()
    build.conv("grey", "c1", [[1.0], [2.0]])
    build.conv("c1", "deltas", [[0.5, 0.25]])
    build.add("Add", ["deltas", build.weight("anchors", [2049.0])], "moved")
    build.add("Transpose", ["moved"], "boxes", perm=[0, 2, 3, 1])
    return build.model(boxes=4)


def test_coordinates_beyond_2048_keep_their_fractions() -> None:
    half = converted(coordinates())
    assert reasons(half)["moved"] == "computes output 'boxes'"
    assert 0 < differences(coordinates(), half)["boxes"] < 2e-3


def test_what_leads_to_an_index_is_float32_and_what_it_picks_is_not() -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[1.0], [2.0]])
    build.conv("c1", "place", [[3000.0, 0.0]])
    build.add("Mul", ["place", build.weight("half", [0.5])], "middle")
    build.add("Cast", ["middle"], "whole", to=TensorProto.INT64)
    build.add("Mod", ["whole", build.weight("edge", np.int64([64]))], "index")
    build.add("Cast", ["whole"], "back", to=TensorProto.FLOAT)
    build.add("Sub", ["middle", "back"], "fraction")
    build.add("Reshape", ["c1", build.weight("flat", np.int64([-1]))], "table")
    build.add("Gather", ["table", "index"], "picked")
    build.add("Mul", ["picked", "fraction"], "weighted")
    build.conv("weighted", "logits", [[1.0]])
    half = converted(build.model(logits=4))
    found = reasons(half)
    kept = {"cast", "grey", "middle", "whole", "back", "fraction", "weighted"}
    assert found.keys() == kept
    assert found["fraction"].startswith("coordinates")
    assert "picked.fp16" in {name for n in half.model.graph.node for name in n.output}


def test_what_follows_image_size_is_float32() -> None:
    build = GraphBuilder()
    build.add("Cast", ["image_size"], "size", to=TensorProto.FLOAT)
    build.add("Mul", ["size", build.weight("thousand", [1000.25])], "edges")
    build.conv("grey", "c1", [[1.0]])
    build.add("ReduceMax", ["c1"], "peak", keepdims=0)
    build.add("Mul", ["edges", "peak"], "boxes")
    half = converted(build.model(boxes=2))
    found = reasons(half)
    assert found["edges"].startswith("arithmetic on inputs")
    assert {"size", "edges", "boxes"} <= found.keys()


def test_a_suppression_by_matrix_products_is_not_a_heavy_part() -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[1.0]])
    build.add("Greater", ["c1", build.weight("cut", [0.5])], "overlaps")
    build.add("Cast", ["overlaps"], "mask", to=TensorProto.FLOAT)
    build.add("MatMul", ["mask", "mask"], "hits")
    build.add("Greater", ["hits", build.weight("none", [0.5])], "gone")
    build.add("Cast", ["gone"], "scores", to=TensorProto.FLOAT)
    found = reasons(converted(build.model(scores=4)))
    assert found.keys() == {
        "cast",
        "grey",
        *("overlaps", "mask", "hits", "gone", "scores"),
    }


def test_attention_is_a_heavy_part_but_its_softmax_is_not() -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[1.0]])
    build.add("MatMul", ["c1", "c1"], "product")
    build.add("Softmax", ["product"], "share", axis=-1)
    build.add("MatMul", ["share", "c1"], "mixed")
    build.conv("mixed", "logits", [[1.0]])
    found = reasons(converted(build.model(logits=4)))
    assert found.keys() == {"cast", "grey", "share"}


def test_the_last_linear_map_is_float32() -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[1.0]])
    build.add("Flatten", ["c1"], "flat")
    build.add("MatMul", ["flat", build.weight("w", np.full((64, 1), 0.1))], "m")
    build.add("Add", ["m", build.weight("b", [0.5])], "logits")
    half = converted(build.model(logits=2))
    assert reasons(half).keys() == {"cast", "grey", "m", "logits"}
    assert half.casts == 2


def test_small_constants_are_not_flushed_to_zero() -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[1.0]])
    build.add("Add", ["c1", build.weight("eps", [1e-9])], "safe")
    build.conv("safe", "logits", [[1.0]])
    found = reasons(converted(build.model(logits=4)))
    assert found["safe"].startswith("weights: max |eps| = 1e-09 is below")


def test_a_dead_filter_among_live_ones_does_not_count() -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[1.0], [1e-12]])
    build.conv("c1", "logits", [[1.0, 1.0]])
    assert reasons(converted(build.model(logits=4))).keys() == {"cast", "grey"}


def test_constants_in_nodes_count_as_weights_and_nodes_get_names() -> None:
    build = GraphBuilder()
    tensor = numpy_helper.from_array(np.full((1, 1, 1, 1), 0.5, np.float32))
    build.add("Constant", [], "filters", value=tensor)
    build.add("Conv", ["grey", "filters"], "logits")
    model = build.model(logits=4)
    for node in model.graph.node:
        node.name = ""
    half = converted(model)
    assert "Constant" not in {node.op_type for node in half.model.graph.node}
    assert [node.node for node in half.kept] == ["Cast_0", "Mul_1"]


def test_control_flow_is_refused() -> None:
    build = GraphBuilder()
    branch = helper.make_graph(
        [helper.make_node("Identity", ["grey"], ["chosen"])],
        "branch",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)],
    )
    build.add(
        "If",
        [build.weight("yes", np.array(True))],
        "logits",
        then_branch=branch,
        else_branch=branch,
    )
    with pytest.raises(GraphError, match=r"'to_logits' \(If\) has a subgraph"):
        half_from_single(build.model(logits=4), FEEDS)


def test_computed_statistics_are_refused() -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[1.0]])
    build.add("ReduceMax", ["c1"], "v", keepdims=0)
    build.norm("c1", "n1", (1.0, 0.0, 0.0, 1.0))
    build.nodes[-1].input[4] = "v"
    build.conv("n1", "logits", [[1.0]])
    with pytest.raises(GraphError, match="'to_n1' has statistics that are computed"):
        half_from_single(build.model(logits=4), FEEDS)


def test_the_graph_that_was_converted_is_left_as_it_was() -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[1.0]])
    build.norm("c1", "n1", (1.0, 0.0, 0.0, 1.0))
    build.conv("n1", "logits", [[1.0]])
    model = build.model(logits=4)
    before = model.SerializeToString(deterministic=True)
    converted(model)
    folded_norms(model)
    assert model.SerializeToString(deterministic=True) == before
