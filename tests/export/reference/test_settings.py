"""The training recipe is read strictly."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.reference_training import ARCHITECTURES, RECIPE, write_settings

from spinert.export.errors import RecipeError
from spinert.export.families.retinanet import ENTRIES
from spinert.export.recipe import recipe_from_toml
from spinert.export.reference.inputs import (
    CLASS_NAMES,
    CLASSES,
    architecture_of,
    built,
    style_of,
)
from spinert.export.reference.settings import RECIPE as RECIPE_OF_SOURCE
from spinert.export.reference.settings import settings_from_toml
from spinert.export.reference.tasks import task_of
from spinert.phantom.truth import LESIONS


def test_the_recipe_of_the_source_trains_both_networks() -> None:
    found = settings_from_toml(RECIPE_OF_SOURCE)
    assert set(found.networks) == {"densenet121", "efficientdet_d0"}
    assert set(found.data.splits) == {"train", "validation", "test"}
    assert found.data.splits["test"].count == 1000
    for name, table in found.networks.items():
        architecture = architecture_of(table)
        assert table.architecture == name
        task_of(table, architecture)
        edges = [stage.edge_px for stage in table.stages]
        seen = [stage.seen_px for stage in table.stages]
        assert not table.stages[-1].window_px
        style = style_of(table, architecture)
        stated = style.network.get("input", {}).get("canvas")
        expected = stated["letterbox"]["height"] if stated else 224
        assert edges[-1] == max(edges) == expected
        assert all(edge % architecture.stride == 0 for edge in seen)


def test_the_bundle_states_the_options_that_were_trained(pytestconfig) -> None:
    path = pytestconfig.rootpath / "examples" / "recipes" / "reference.toml"
    recipe = recipe_from_toml(path)
    trained = settings_from_toml(RECIPE_OF_SOURCE).networks
    members = (*recipe.classifiers, recipe.detector)
    assert {member.architecture for member in members} == set(trained)
    for member in members:
        assert dict(member.options) == dict(trained[member.architecture].options)
        assert member.style == trained[member.architecture].style
    assert "not for patients" in recipe.overrides["notice"].lower()


def test_labels_are_those_of_a_bundle() -> None:
    assert CLASS_NAMES[0] == "Osteophytes"
    assert CLASS_NAMES[4] == "Disc space narrowing"
    assert set(CLASSES) == set(LESIONS)
    assert [CLASSES[name] for name in CLASS_NAMES] == list(range(7))


WRONG = {
    "unknown keys: size": ("classifier_edge_px = 64", "size = 64"),
    "networks.small_densenet: 'seed' is missing": ("seed = 5\n", ""),
    "must be of type int": ("long_edge_px = 160", "long_edge_px = 1.5"),
    "must be of type str": ('style = "vindr"', "style = 1"),
    "optimisation: learning_rate must be positive": ("1e-3", "0.0"),
    "stages 1: must be positive": ("{ steps = 4,", "{ steps = 0,"),
    "stages 1: window_px: from 0 to edge_px": (
        "{ steps = 4,",
        "{ window_px = 4096, steps = 4,",
    ),
    "stages 1: lesion_share: from 0 to 1": (
        "{ steps = 4,",
        "{ lesion_share = 1.5, steps = 4,",
    ),
    "stages: must be a list": (
        "stages = [{ steps = 6, batch = 2, edge_px = 128 }]",
        "stages = 3",
    ),
    "splits needs a 'train'": ("train =", "training ="),
    "two splits share a seed": ("seed = 2", "seed = 1"),
    "images: edges must be positive": (
        "detector_edge_px = 128",
        "detector_edge_px = 0",
    ),
    "networks: must be a table": ("[data.images]", "networks = 3\n[data.images]"),
    "not TOML": ("[data.images]", "[data.images"),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_recipe_is_refused_with_the_place(tmp_path, message) -> None:
    before, after = WRONG[message]
    text = RECIPE.replace(before, after)
    if "networks: must" in message:
        text = after + text.split("[networks.")[0].replace(before, "")
    with pytest.raises(RecipeError, match=r"^training\.toml") as caught:
        write_settings(tmp_path, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_recipe_is_named(tmp_path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml: cannot be read"):
        settings_from_toml(tmp_path / "none.toml")


AUGMENTATIONS = {"scale = [1.2, 0.8]": "smaller first", "flip = 1.5": "from 0 to 1"}


@pytest.mark.parametrize("line", AUGMENTATIONS)
def test_impossible_changes_are_refused(tmp_path, line) -> None:
    text = f"{RECIPE}[networks.small_efficientdet.augmentation]\n{line}\n"
    with pytest.raises(RecipeError, match=AUGMENTATIONS[line]):
        write_settings(tmp_path, text)


def test_what_cannot_be_trained_is_refused(tmp_path) -> None:
    table = write_settings(tmp_path).networks["small_efficientdet"]
    small = ARCHITECTURES["small_efficientdet"]
    with pytest.raises(RecipeError, match="unknown architecture 'small_eff"):
        architecture_of(table)
    with pytest.raises(RecipeError, match="unknown style 'tf'; one of"):
        style_of(replace(table, style="tf"), small)
    with pytest.raises(RecipeError, match="no option 'anchors'"):
        built(replace(table, options={"anchors": 1}), small)
    other = replace(table, architecture="r50", style="detectron2", options={})
    with pytest.raises(RecipeError, match="only EfficientDets are trained here"):
        task_of(other, ENTRIES["retinanet_r50_fpn"])
