"""Does the emulation round where and how half does?"""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from support.half_graphs import GraphBuilder, feed_of, outputs_of

from spinert.export.half.conversion import half_from_single
from spinert.export.half.emulation import rounding_model


def rounding_of_one_tensor() -> onnx.ModelProto:
    """Return x -> half -> half -> y: a cast, a copy and a cast."""
    cast = helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16)
    copy = helper.make_node("Relu", ["h"], ["r"])
    back = helper.make_node("Cast", ["r"], ["y"], to=TensorProto.FLOAT)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [cast, copy, back],
        "rounding",
        [value("x", TensorProto.FLOAT, ["n"])],
        [value("y", TensorProto.FLOAT, ["n"])],
    )
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10)


ROUNDING = rounding_model(rounding_of_one_tensor())


@settings(max_examples=50)
@given(st.lists(st.floats(0, 30000, width=32), min_size=1, max_size=64))
def test_every_value_rounds_as_numpy_rounds_it(values) -> None:
    x = np.array(values, dtype=np.float32)
    expected = x.astype(np.float16).astype(np.float32)
    found = outputs_of(ROUNDING, {"x": x})["y"]
    # Twice rounded, a tie below half's normal range may fall to the other side.
    tiny = np.abs(expected) < 2.0**-14
    np.testing.assert_array_equal(found[~tiny], expected[~tiny])
    assert np.abs(found - expected)[tiny].max(initial=0.0) <= 2.0**-24
    steps = found[tiny] * 2.0**24
    np.testing.assert_array_equal(steps, np.round(steps))


def test_every_magnitude_of_half_rounds_exactly() -> None:
    halves = np.arange(0, 0x7400, dtype=np.uint16).view(np.float16).astype(np.float32)
    found = outputs_of(ROUNDING, {"x": halves})["y"]
    np.testing.assert_array_equal(found, halves)


def test_a_network_rounds_after_every_node_not_only_at_its_ends() -> None:
    build = GraphBuilder()
    build.conv("grey", "c1", [[0.7]])
    build.conv("c1", "c2", [[0.9]])
    build.conv("c2", "logits", [[1.1]])
    half = half_from_single(build.model(logits=4), [feed_of()]).model
    feed = feed_of(seed=4)
    grey = feed["image"].astype(np.float32) * np.float32(1 / 255)
    value = grey.astype(np.float16)
    for factor in (0.7, 0.9, 1.1):
        exact = value.astype(np.float32) * np.float32(np.float16(factor))
        value = exact.astype(np.float16)
    found = outputs_of(rounding_model(half), feed)["logits"]
    np.testing.assert_array_equal(found, value.astype(np.float32))
