from __future__ import annotations

import pytest
from support.bundles import tiny_spec

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends.contract import (
    Tensor,
    broken_contract,
    expected_inputs,
    expected_outputs,
)

CLASSIFIER = tiny_spec().networks["classifier"]
DETECTOR = tiny_spec().networks["detector"]


def described(network):
    return expected_inputs(network), expected_outputs(network)


@pytest.mark.parametrize("network", [CLASSIFIER, DETECTOR])
def test_what_is_expected_is_accepted(network):
    assert broken_contract(network, *described(network)) == []


def test_a_float_network_has_one_channel_for_each_mean():
    network = pb.Network()
    network.CopyFrom(DETECTOR)
    network.input.element_type = pb.ELEMENT_FLOAT32
    assert str(expected_inputs(network)["image"]) == "float32[?, 3, ?, ?]"


@pytest.mark.parametrize("kind", ["fixed", "letterbox"])
def test_a_fixed_canvas_may_be_fixed_in_the_graph_and_need_not_be(kind):
    network = pb.Network()
    network.CopyFrom(DETECTOR)
    getattr(network.input.canvas, kind).height = 64
    getattr(network.input.canvas, kind).width = 32
    inputs, outputs = described(network)
    assert str(inputs["image"]) == "uint8[?, 1, 64, 32]"
    inputs["image"] = Tensor(dtype="uint8", shape=(None, 1, None, None))
    assert broken_contract(network, inputs, outputs) == []


def test_a_status_is_optional():
    inputs, outputs = described(DETECTOR)
    del outputs["status"]
    assert broken_contract(DETECTOR, inputs, outputs) == []


@pytest.mark.parametrize("name", ["image", "image_size", "boxes", "scores", "labels"])
@pytest.mark.parametrize("change", ["missing", "type", "rank", "batch"])
def test_every_deviation_names_the_tensor(name, change):
    inputs, outputs = described(DETECTOR)
    tensors = inputs if name in inputs else outputs
    old = tensors[name]
    if change == "missing":
        del tensors[name]
    else:
        tensors[name] = {
            "type": Tensor(dtype="float64", shape=old.shape),
            "rank": Tensor(dtype=old.dtype, shape=(*old.shape, None)),
            "batch": Tensor(dtype=old.dtype, shape=(1, *old.shape[1:])),
        }[change]
    (message,) = broken_contract(DETECTOR, inputs, outputs)
    assert f"{name!r}" in message
    assert str(old) in message


def test_what_is_not_known_is_named():
    inputs, outputs = described(CLASSIFIER)
    extra = Tensor(dtype="float32", shape=(None,))
    messages = broken_contract(
        CLASSIFIER, {**inputs, "more": extra}, {**outputs, "rest": extra}
    )
    assert [m.split(",")[0] for m in messages] == [
        "input 'more' is not known",
        "output 'rest' is not known",
    ]
