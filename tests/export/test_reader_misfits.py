"""Checkpoints that do not fit, of every family: one line that says what to do."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.small_networks import RECIPE, SMALL, write_recipe
from torch import Tensor, nn

from spinert.export.architecture import Architecture
from spinert.export.architectures import ARCHITECTURES
from spinert.export.checkpoints import recognition
from spinert.export.checkpoints.mapping import (
    load_strictly,
    own_keys,
    own_tensors,
)
from spinert.export.checkpoints.reader import read_tensors
from spinert.export.checkpoints.recognition import (
    check_shown_options,
    layouts_from_tensors,
    recognised,
    source_keys,
    style_of_file,
)
from spinert.export.checkpoints.style import Style
from spinert.export.errors import CheckpointError
from spinert.export.families.sparse_rcnn import SPARSERCNN
from spinert.export.members import opened_recipe
from spinert.export.pipeline import export_bundle
from spinert.export.recipe import recipe_from_toml

CLASSES = 7
LAYOUTS = [
    (name, style)
    for name, architecture in ARCHITECTURES.items()
    for style in architecture.styles
    if not style.by_name
]
IDS = [f"{name}-{style.name}" for name, style in LAYOUTS]


@cache
def network_of(name: str, style_name: str, classes: int = CLASSES) -> nn.Module:
    """Return a full-size network without memory for its weights."""
    architecture = ARCHITECTURES[name]
    (style,) = (s for s in architecture.styles if s.name == style_name)
    with torch.device("meta"):
        return architecture.build({**architecture.options, **style.options}, classes)


@pytest.fixture(autouse=True)
def _networks_are_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def keys(architecture: Architecture, style: Style) -> frozenset[str]:
        names = [n for n, a in ARCHITECTURES.items() if a is architecture]
        if not names:
            return source_keys(architecture, style)
        return source_keys_of(names[0], style.name)

    monkeypatch.setattr(recognition, "source_keys", keys)


@cache
def source_keys_of(name: str, style_name: str) -> frozenset[str]:
    (style,) = (s for s in ARCHITECTURES[name].styles if s.name == style_name)
    network = network_of(name, style_name)
    return frozenset(style.source_key(key) for key in own_keys(network))


def file_of(name: str, style: Style, classes: int = CLASSES) -> dict[str, Tensor]:
    """Return what a file of this layout holds; all values are one zero in memory."""
    network = network_of(name, style.name, classes)
    state = network.state_dict()
    zero = torch.zeros(())
    return {
        style.source_key(key): zero.expand(state[key].shape)
        for key in own_keys(network)
    }


@pytest.mark.parametrize(("name", "style"), LAYOUTS, ids=IDS)
def test_a_file_is_recognised_as_what_it_is(name, style) -> None:
    found = layouts_from_tensors(file_of(name, style), ARCHITECTURES)
    assert (name, style.name) in found
    own = source_keys_of(name, style.name)
    assert all(source_keys_of(*layout) == own for layout in found)


@pytest.mark.parametrize(("name", "style"), LAYOUTS, ids=IDS)
def test_a_file_for_another_architecture_says_which(name, style) -> None:
    tensors = file_of(name, style)
    fits = {fit for fit, _ in layouts_from_tensors(tensors, ARCHITECTURES)}
    for asked in set(ARCHITECTURES) - fits:
        hint = recognised(tensors, ARCHITECTURES, asked=asked)
        assert style.name in hint
        assert f'"{name}"' in hint
        assert "\n" not in hint


@pytest.mark.parametrize(("name", "style"), LAYOUTS, ids=IDS)
def test_a_file_for_the_right_architecture_gets_no_such_advice(name, style) -> None:
    tensors = file_of(name, style)
    del tensors[max(tensors)]
    assert recognised(tensors, ARCHITECTURES, asked=name) == ""


@pytest.mark.parametrize(("name", "style"), LAYOUTS, ids=IDS)
def test_one_key_less_or_more_is_named(name, style) -> None:
    tensors = file_of(name, style)
    gone = max(tensors)
    value = tensors.pop(gone)
    network = network_of(name, style.name)
    with pytest.raises(CheckpointError) as caught:
        own_tensors(tensors, network, style, "file.pth")
    assert f"missing {gone}" in str(caught.value)
    tensors |= {gone: value, "aux_head.weight": value}
    with pytest.raises(CheckpointError, match=r"unexpected aux_head\.weight; check"):
        own_tensors(tensors, network, style, "file.pth")


@pytest.mark.parametrize(("name", "style"), LAYOUTS, ids=IDS)
def test_nan_is_named_with_its_key(name, style) -> None:
    tensors = file_of(name, style)
    key = min(tensors)
    tensors[key] = torch.tensor(float("nan")).expand(tensors[key].shape)
    network = network_of(name, style.name)
    own = own_tensors(tensors, network, style, "file.pth")
    own = ARCHITECTURES[name].adapt(own)
    with pytest.raises(CheckpointError) as caught:
        load_strictly(network, own, style, "file.pth")
    assert f"file.pth: NaN or infinity in {key}; " in str(caught.value)
    assert "earlier checkpoint" in str(caught.value)


DETECTORS = [
    (name, style) for name, style in LAYOUTS if ARCHITECTURES[name].role == "detector"
]


@pytest.mark.parametrize(
    ("name", "style"), DETECTORS, ids=[f"{n}-{s.name}" for n, s in DETECTORS]
)
def test_other_classes_are_told_by_their_shapes(name, style) -> None:
    tensors = file_of(name, style, classes=80)
    network = network_of(name, style.name)
    own = own_tensors(tensors, network, style, "coco.pth")
    own = ARCHITECTURES[name].adapt(own)
    with pytest.raises(CheckpointError, match=r"coco\.pth: .* not .*number of classes"):
        load_strictly(network, own, style, "coco.pth")


def test_a_classifier_of_many_classes_is_told_by_its_shape() -> None:
    name, style = LAYOUTS[0]
    tensors = file_of(name, style)
    head = style.source_key("head.heads.0.weight")
    tensors[head] = torch.zeros(()).expand((1000, 1024))
    network = network_of(name, style.name)
    own = ARCHITECTURES[name].adapt(own_tensors(tensors, network, style, "x.pth"))
    with pytest.raises(CheckpointError, match=r"\(1000, 1024\), not \(1, 1024\)"):
        load_strictly(network, own, style, "x.pth")


# ---------------------------------------------------------- Sparse R-CNN's sizes


@pytest.mark.parametrize(
    ("name", "entries", "blocks"),
    [("sparse_rcnn_r50_fpn", 523, 6), ("sparse_rcnn_r101_fpn", 778, 23)],
)
def test_both_depths_have_the_official_keys(name, entries, blocks) -> None:
    tensors = file_of(name, SPARSERCNN)
    assert len(tensors) == entries
    places = {
        key.split(".")[3]
        for key in tensors
        if key.startswith("backbone.bottom_up.res4")
    }
    assert places == {str(n) for n in range(blocks)}
    assert tensors["init_proposal_features.weight"].shape == (100, 256)
    assert tensors["backbone.bottom_up.res4.0.shortcut.weight"].shape == (
        1024,
        512,
        1,
        1,
    )


@pytest.mark.parametrize(("found", "asked"), [(300, 100), (100, 300)])
def test_another_number_of_proposals_says_what_to_set(found, asked) -> None:
    architecture = ARCHITECTURES["sparse_rcnn_r50_fpn"]
    own = {"init_proposal_boxes.weight": torch.zeros(found, 4)}
    options = {**architecture.options, "proposals": asked}
    with pytest.raises(CheckpointError, match=f"set options.proposals = {found}$"):
        check_shown_options(own, architecture, options, "r50_300pro.pth")
    check_shown_options(own, architecture, {**options, "proposals": found}, "x")


def test_300_proposals_give_300_boxes_of_every_class() -> None:
    architecture = ARCHITECTURES["sparse_rcnn_r101_fpn"]
    options = {**architecture.options, "proposals": 300}
    with torch.device("meta"):
        network = architecture.build(options, CLASSES)
    assert network.state_dict()["init_proposal_boxes.weight"].shape == (300, 4)
    assert architecture.available(options, CLASSES) == 2100


# ---------------------------------------------------------------- through a recipe


def saved(folder: Path, architecture: str, name: str) -> Path:
    """Write an untrained checkpoint of a small network."""
    entry = SMALL[architecture]
    state = entry.build(dict(entry.options), CLASSES).state_dict()
    spelled = entry.styles[0].source_key
    torch.save({"model": {spelled(k): v for k, v in state.items()}}, folder / name)
    return folder / name


DETECTOR = 'architecture = "small_sparse_rcnn"\ncheckpoint = "untrained:3"'
CASES = {
    "another architecture": (
        ("small_densenet", None),
        r'the keys are those of vindr: set architecture = "small_densenet"$',
    ),
    "another number of proposals": (
        ("small_sparse_rcnn", "options = { proposals = 30 }"),
        r"has 20 proposals, not 30; set options\.proposals = 20$",
    ),
    "other classes": (
        ("small_sparse_rcnn", "classes"),
        r"class_logits.* \(7, 32\), not \(2, 32\).*the number of classes$",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_export_that_cannot_be_leaves_nothing_behind(tmp_path, case) -> None:
    (architecture, setting), message = CASES[case]
    saved(tmp_path, architecture, "mine.pth")
    text = RECIPE.replace(
        DETECTOR, 'architecture = "small_sparse_rcnn"\ncheckpoint = "mine.pth"'
    )
    if setting == "classes":
        names = "\n".join(f'[[bundle.classes]]\nname = "{n}"' for n in "ab")
        text += f"\n{names}\n"
    elif setting:
        text = text.replace("[golden]", f"{setting}\n[golden]")
    recipe = write_recipe(tmp_path, text)
    with pytest.raises(CheckpointError, match=message) as caught:
        export_bundle(recipe, tmp_path / "bundle", lambda *_: None, architectures=SMALL)
    assert str(caught.value).startswith("mine.pth: ")
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.pth", "recipe.toml"]


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_part_of_a_file_is_named(tmp_path, suffix, part) -> None:
    state = {"a": torch.ones(50), "b": torch.zeros(50)}
    path = tmp_path / f"part{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    elif suffix == ".pkl":
        path.write_bytes(pickle.dumps({k: v.numpy() for k, v in state.items()}))
    else:
        save_file(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(CheckpointError, match=r"^part\.\w+: .*; copy it again$"):
        read_tensors(path)


def test_a_record_says_under_which_wrapper_the_weights_were(tmp_path) -> None:
    path = saved(tmp_path, "small_sparse_rcnn", "mine.pth")
    torch.save({"state_dict": torch.load(path)}, path)
    text = RECIPE.replace("untrained:3", "mine.pth")
    opened = opened_recipe(recipe_from_toml(write_recipe(tmp_path, text)), SMALL)
    assert list(opened.detector.record().notes) == ["weights under state_dict.model"]
    assert [list(member.record().notes) for member in opened.classifiers] == [[], []]


def test_an_onnx_file_under_another_architecture_says_so(tmp_path) -> None:
    (tmp_path / "mine.onnx").write_bytes(b"")
    text = RECIPE.replace("untrained:3", "mine.onnx")
    recipe = recipe_from_toml(write_recipe(tmp_path, text))
    with pytest.raises(CheckpointError, match='needs architecture = "onnx"'):
        opened_recipe(recipe, SMALL)


@pytest.mark.parametrize(("name", "style"), LAYOUTS, ids=IDS)
def test_a_style_is_told_where_keys_can_tell(name, style) -> None:
    own = source_keys_of(name, style.name)
    same = [
        each.name
        for each in ARCHITECTURES[name].styles
        if not each.by_name and source_keys_of(name, each.name) == own
    ]
    if len(same) == 1:
        found = style_of_file(file_of(name, style), ARCHITECTURES[name], "file.pth")
        assert found is style
        return
    # Only the plain form of two sizes, whose neck is TensorFlow's.
    assert name in ("efficientdet_d4", "efficientdet_d5")
    with pytest.raises(CheckpointError) as caught:
        style_of_file(file_of(name, style), ARCHITECTURES[name], "file.pth")
    choices = " or ".join(f'style = "{each}"' for each in same)
    assert str(caught.value).endswith(f"; set {choices}")
