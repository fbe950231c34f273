"""Files that effdet wrote, read into the networks of their style."""

from __future__ import annotations

import pytest
import torch
from support.effdet_models import effdet_bench, effdet_config, effdet_model
from support.efficientdets import calibrated, golden, graph_of, style
from support.small_networks import RECIPE, SMALL, batch, write_recipe
from torch import nn

from spinert.export.checkpoints.mapping import (
    load_strictly,
    own_keys,
    own_tensors,
    style_from_tensors,
)
from spinert.export.checkpoints.reader import read_tensors
from spinert.export.errors import CheckpointError, RecipeError
from spinert.export.families.efficientdet import ENTRIES
from spinert.export.members import opened_recipe
from spinert.export.plan import bundle_from_recipe
from spinert.export.recipe import recipe_from_toml

D0 = ENTRIES["efficientdet_d0"]
MODELS = [
    *((f"efficientdet_d{n}", "effdet_tf", f"tf_efficientdet_d{n}") for n in range(8)),
    *((f"efficientdet_d{n}", "effdet", f"efficientdet_d{n}") for n in range(6)),
]


@pytest.mark.parametrize(("name", "form", "model"), MODELS)
def test_every_size_has_the_keys_and_shapes_of_effdet(name, form, model) -> None:
    config = effdet_config(model)
    architecture = ENTRIES[name]
    own_style = style(form, name)
    with torch.device("meta"):
        theirs = effdet_model(config).state_dict()
        ours = architecture.build({**architecture.options, **own_style.options}, 7)
    keys = {own_style.source_key(key): key for key in own_keys(ours)}
    state = ours.state_dict()
    expected = {
        key: value.shape
        for key, value in theirs.items()
        if not key.endswith("num_batches_tracked")
    }
    assert {theirs: state[own].shape for theirs, own in keys.items()} == expected
    canvas = own_style.network["input"]["canvas"]["letterbox"]
    assert (canvas["height"], canvas["width"]) == tuple(config.image_size)
    assert architecture.options["anchor_scale"] == config.anchor_scale


def padding_of(module) -> str | None:
    """Tell how a strided or pooling module pads, in either code."""
    if not isinstance(module, nn.Conv2d) or module.stride == (1, 1):
        return None
    dynamic = type(module).__name__ == "Conv2dSame" or bool(
        getattr(module, "uneven", None)
    )
    return "same" if dynamic else f"symmetric {module.padding[0]}"


@pytest.mark.parametrize(("name", "form", "model"), MODELS)
def test_every_size_has_the_paddings_and_epsilons_of_effdet(name, form, model) -> None:
    architecture, own_style = ENTRIES[name], style(form, name)
    with torch.device("meta"):
        theirs = effdet_model(effdet_config(model))
        ours = architecture.build({**architecture.options, **own_style.options}, 7)
    for described in (padding_of, lambda module: getattr(module, "eps", None)):
        found, expected = (
            {key: described(module) for key, module in network.named_modules()}
            for network in (ours, theirs)
        )
        wanted = {key: value for key, value in expected.items() if value is not None}
        assert {key: found.get(key) for key in wanted} == wanted
    pools = [type(m).__name__ for m in theirs.modules() if "Pool" in type(m).__name__]
    same = own_style.options["neck_same_padding"]
    assert set(pools) == {"MaxPool2dSame" if same else "MaxPool2d"}


def test_d6_and_d7_have_no_plain_form() -> None:
    for name in ("efficientdet_d6", "efficientdet_d7"):
        names = [style.name for style in ENTRIES[name].styles]
        assert names == ["effdet_tf", "effdet_tf_level_first"]


@pytest.fixture(scope="module", params=["effdet_tf", "effdet"])
def written(request):
    """A form's name, its weights and effdet's model with these weights."""
    own, _ = calibrated(request.param)
    name = "tf_efficientdet_d0" if request.param == "effdet_tf" else "efficientdet_d0"
    reference = effdet_model(effdet_config(name, edge=256))
    reference.load_state_dict(own.state_dict())
    return request.param, own, reference


def read(tmp_path, state):
    torch.save(state, tmp_path / "mine.pth")
    return read_tensors(tmp_path / "mine.pth")


def loaded(tensors, own_style):
    network = D0.build({**D0.options, **own_style.options}, 7)
    load_strictly(
        network, own_tensors(tensors, network, own_style, "f"), own_style, "f"
    )
    return network.eval()


def check_equal(network, own) -> None:
    image, size = batch(golden()[:1])
    x = graph_of(network, style("effdet")).grey(image, size)
    with torch.no_grad():
        for ours, theirs in zip(network(x, size), own(x, size), strict=True):
            assert torch.equal(ours, theirs)


def test_a_file_of_effdet_is_recognised_and_loaded(tmp_path, written) -> None:
    form, own, reference = written
    tensors = read(tmp_path, {"state_dict": reference.state_dict()})
    recognised = style_from_tensors(tensors, D0.styles, "f")
    assert recognised.name == form
    check_equal(loaded(tensors, recognised), own)


def test_a_training_bench_is_loaded_without_its_anchors(tmp_path, written) -> None:
    form, own, reference = written
    state = effdet_bench(reference).state_dict()
    assert "anchors.boxes" in state
    assert "model.backbone.conv_stem.weight" in state
    for saved in (state, {f"module.{key}": value for key, value in state.items()}):
        tensors = read(tmp_path, saved)
        recognised = style_from_tensors(tensors, D0.styles, "f")
        assert recognised.name == form
        check_equal(loaded(tensors, recognised), own)


def test_norms_ordered_by_level_are_loaded(tmp_path, written) -> None:
    form, own, reference = written
    reference.toggle_head_bn_level_first()
    state = reference.state_dict()
    reference.toggle_head_bn_level_first()
    assert "box_net.bn_rep.4.2.weight" in state
    tensors = read(tmp_path, state)
    check_equal(loaded(tensors, style(f"{form}_level_first")), own)
    if form == "effdet":
        recognised = style_from_tensors(tensors, D0.styles, "f")
        assert recognised.name == "effdet_level_first"
    else:
        message = r"do not fit the effdet_tf layout.*check architecture and style"
        with pytest.raises(CheckpointError, match=message):
            loaded(tensors, style_from_tensors(tensors, D0.styles, "f"))


def test_the_wrong_form_names_the_biases(written) -> None:
    form, own, _ = written
    other = {"effdet": "effdet_tf", "effdet_tf": "effdet"}[form]
    message = "unexpected" if other == "effdet" else "missing"
    with pytest.raises(CheckpointError, match=rf"{message} .*conv_pw\.bias"):
        loaded(own.state_dict(), style(other))


def test_another_size_is_refused_by_its_keys() -> None:
    own, _ = calibrated()
    d1 = ENTRIES["efficientdet_d1"]
    network = d1.build({**d1.options, **style("effdet_tf").options}, 7)
    with pytest.raises(CheckpointError, match="missing"):
        own_tensors(own.state_dict(), network, d1.styles[0], "f")


def test_another_number_of_classes_is_refused() -> None:
    own, _ = calibrated()
    network = D0.build({**D0.options, **style("effdet_tf").options}, 90)
    tensors = own_tensors(own.state_dict(), network, D0.styles[0], "f")
    with pytest.raises(CheckpointError, match=r"class_net.predict.*number of classes"):
        load_strictly(network, tensors, D0.styles[0], "f")


def recipe_of(tmp_path, tail: str = ""):
    head, _, _ = RECIPE.partition("[bundle.networks.classifier")
    text = head.replace("small_sparse_rcnn", "efficientdet_d2")
    recipe = recipe_from_toml(write_recipe(tmp_path, text + tail))
    return recipe, opened_recipe(recipe, {**SMALL, **ENTRIES})


def test_the_style_states_pre_and_postprocessing_in_the_bundle(tmp_path) -> None:
    bundle = bundle_from_recipe(*recipe_of(tmp_path))
    detector = bundle.networks["detector"]
    assert detector.input.canvas.letterbox.width == 768
    assert detector.input.canvas.letterbox.height == 768
    assert list(detector.input.mean) == pytest.approx([123.675, 116.28, 103.53])
    assert list(detector.input.std) == pytest.approx([58.395, 57.12, 57.375])
    fill = [0.32500 / 58.395, -0.28 / 57.12, 0.47 / 57.375]
    assert list(detector.input.fill) == pytest.approx(fill, rel=1e-6)
    rule = detector.detection
    assert (rule.candidates, rule.max_detections) == (1000, 100)
    assert (rule.nms_iou, rule.nms_class_wise, rule.score_floor) == (0.5, True, 0.0)


def test_a_canvas_that_is_no_multiple_of_128_is_refused(tmp_path) -> None:
    tail = "[bundle.networks.detector.input.canvas.letterbox]\nheight = 800\n"
    with pytest.raises(RecipeError, match="multiples of 128"):
        bundle_from_recipe(*recipe_of(tmp_path, tail))


def test_a_canvas_whose_size_follows_the_image_is_refused(tmp_path) -> None:
    tail = "[bundle.networks.detector.input.canvas.native]\npad_multiple = 128\n"
    with pytest.raises(RecipeError, match="takes a letterbox or a fixed canvas"):
        bundle_from_recipe(*recipe_of(tmp_path, tail))
