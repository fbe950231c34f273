"""Which graph a backend is given, and what is said when there is none."""

from __future__ import annotations

import pytest

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends.forms import EVERY_STANDARD_OPERATOR, chosen_form
from spinert.runtime.errors import BackendUnavailable


def network(*forms: pb.Form, operators: tuple[str, ...] = ()) -> pb.Network:
    return pb.Network(
        file="networks/detector.onnx",
        precision="fp32",
        operators=operators,
        forms=forms,
        parity=pb.Parity(reference="main"),
    )


def form(file: str, precision: str, *operators: str) -> pb.Form:
    parity = pb.Parity(reference=file)
    return pb.Form(file=file, precision=precision, operators=operators, parity=parity)


HALF = form("half.onnx", "fp16")


def test_the_main_file_is_the_float32_graph():
    chosen = chosen_form("detector", network(HALF), "fp32", ())
    assert chosen.file == "networks/detector.onnx"
    assert (chosen.precision, chosen.parity.reference) == ("fp32", "main")


def test_another_precision_is_another_file_with_its_own_parity():
    chosen = chosen_form("detector", network(HALF), "fp16", ())
    assert (chosen.file, chosen.precision) == ("half.onnx", "fp16")
    assert chosen.parity.reference == "half.onnx"


@pytest.mark.parametrize("special_first", [True, False])
def test_a_graph_with_an_operator_the_backend_has_is_preferred(special_first):
    forms = [form("roi.onnx", "fp16", "RoiAlign"), HALF]
    spec = network(*(forms if special_first else forms[::-1]))
    assert chosen_form("detector", spec, "fp16", ("RoiAlign",)).file == "roi.onnx"
    assert chosen_form("detector", spec, "fp16", ()).file == "half.onnx"


def test_a_second_float32_graph_serves_a_backend_without_the_operator():
    spec = network(form("plain.onnx", "fp32"), operators=("RoiAlign",))
    assert chosen_form("detector", spec, "fp32", ()).file == "plain.onnx"
    main = chosen_form("detector", spec, "fp32", ("RoiAlign",))
    assert (main.file, main.operators) == ("networks/detector.onnx", ("RoiAlign",))


def test_a_missing_precision_names_the_recipe_key():
    with pytest.raises(BackendUnavailable) as caught:
        chosen_form("detector", network(), "fp16", ())
    assert "'detector' has no fp16 graph, only fp32" in caught.value.message
    assert 'precisions = ["fp32", "fp16"]' in caught.value.message


def test_a_missing_operator_names_the_option_that_avoids_it():
    with pytest.raises(BackendUnavailable) as caught:
        chosen_form("detector", network(operators=("RoiAlign",)), "fp32", ())
    assert "'detector' needs RoiAlign" in caught.value.message
    assert "options.roi_sampling = 2" in caught.value.message


def test_an_operator_nobody_can_avoid_is_named_too():
    spec = network(form("odd.onnx", "fp16", "RoiAlign", "DeformConv"))
    with pytest.raises(BackendUnavailable) as caught:
        chosen_form("detector", spec, "fp16", ("RoiAlign",))
    assert "needs DeformConv" in caught.value.message
    assert "roi_sampling" not in caught.value.message


def test_a_backend_of_every_standard_operator_runs_any_graph():
    spec = network(form("odd.onnx", "fp16", "Mod", "NonMaxSuppression"))
    chosen = chosen_form("detector", spec, "fp16", (EVERY_STANDARD_OPERATOR,))
    assert chosen.file == "odd.onnx"


def test_bfloat16_is_the_fp32_graph_judged_by_the_tolerances_of_the_fp16_one():
    half = form("half.onnx", "fp16")
    half.parity.outputs.add(output="boxes", tolerance_abs=3.0)
    spec = network(half)
    chosen = chosen_form("detector", spec, "bf16", ())
    assert (chosen.file, chosen.precision) == (spec.file, "bf16")
    assert chosen.parity.outputs[0].tolerance_abs == 3.0


def test_bfloat16_without_an_fp16_graph_has_nothing_to_be_judged_by():
    with pytest.raises(BackendUnavailable, match="tolerances bf16 is judged by"):
        chosen_form("detector", network(), "bf16", ())
