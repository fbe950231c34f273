"""What is measured of a graph's tensors, and when they are let go of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from support.half_graphs import GraphBuilder, feed_of

from spinert.export.half.ranges import measured_maxima, watching_model

CHANNELS = 16
"""As many as ONNX Runtime needs to compute convolutions in a layout of its own."""
DEPTH = 12


def chain() -> tuple[onnx.ModelProto, list[str]]:
    """Return convolutions behind each other, and what they make, in that order.

    Their names sort the other way round.
    """
    build = GraphBuilder()
    names = [f"c{DEPTH - number:02}" for number in range(DEPTH)]
    filters = np.eye(CHANNELS) / 2
    source = build.conv("grey", "wide", np.ones((CHANNELS, 1)))
    for name in names:
        source = build.conv(source, name, filters)
    return build.model(**{names[-1]: 4}), names


def computed(model: onnx.ModelProto, folder: Path) -> list[str]:
    """Run a model; return its nodes in the order in which they were computed."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    session.run(None, feed_of())
    events = json.loads(Path(session.end_profiling()).read_text())
    ending = "_kernel_time"
    names = [event["name"] for event in events if event["name"].endswith(ending)]
    return [name.removesuffix(ending) for name in names]


def test_a_tensor_is_reduced_and_let_go_of_before_the_next_one_is_made(
    tmp_path,
) -> None:
    model, names = chain()
    watched = sorted(names)
    order = computed(watching_model(model, watched), tmp_path)
    # In its own layout, ONNX Runtime names a node after what it makes.
    makers = [p for p, name in enumerate(order) if re.match(r"(to_)?c\d", name)]
    assert len(makers) == DEPTH
    for name, after in zip(names, [*makers[1:], len(order)], strict=True):
        for end in ("low", "high"):
            assert order.index(f"range.{watched.index(name)}.{end}.scalar") < after


def test_the_largest_magnitude_over_all_feeds_is_found_whatever_its_sign() -> None:
    build = GraphBuilder()
    build.add("Neg", ["grey"], "negative")
    build.add("Mul", ["negative", build.weight("three", np.float32(3))], "result")
    model = build.model(result=4)
    feeds = [feed_of(seed=seed) for seed in range(3)]
    top = max(float(feed["image"].max()) for feed in feeds) / 255
    found = measured_maxima(model, {"result", "grey", "negative"}, feeds)
    expected = {"grey": top, "negative": top, "result": 3 * top}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6)
