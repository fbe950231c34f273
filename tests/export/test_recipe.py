"""Recipes: what is read, what is refused, and what overrides reach."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from support.small_networks import RECIPE, SMALL, write_recipe

from spinert.export.architectures import ARCHITECTURES
from spinert.export.errors import RecipeError
from spinert.export.members import opened_recipe
from spinert.export.plan import bundle_from_recipe
from spinert.export.recipe import recipe_from_toml
from spinert.proto import bundle_pb2 as pb

EXAMPLES = Path(__file__).parents[2] / "examples" / "recipes"


def planned(folder: Path, extra: str = "", text: str = RECIPE) -> pb.Bundle:
    recipe = recipe_from_toml(write_recipe(folder, text + extra))
    return bundle_from_recipe(recipe, opened_recipe(recipe, SMALL))


def test_a_recipe_is_read_whole(tmp_path) -> None:
    recipe = recipe_from_toml(write_recipe(tmp_path))
    assert [member.seed for member in recipe.classifiers] == [1, 2]
    assert recipe.detector.architecture == "small_sparse_rcnn"
    assert recipe.golden.batch_sizes == (1, 2, 5)
    assert recipe.folder == tmp_path


@pytest.mark.parametrize("name", ["reference.toml", "untrained.toml", "vindr.toml"])
def test_the_example_recipes_are_valid(name, tmp_path) -> None:
    text = (EXAMPLES / name).read_text()
    untrained = re.sub(r'checkpoint = ".*"', 'checkpoint = "untrained:1"', text)
    recipe = recipe_from_toml(write_recipe(tmp_path, untrained))
    bundle = bundle_from_recipe(recipe, opened_recipe(recipe, ARCHITECTURES))
    stated = tomllib.loads(text)
    assert stated.get("bundle", {}).get("notice", "meaningless") in bundle.notice
    assert bundle.name == stated["name"]
    options = ARCHITECTURES[recipe.detector.architecture].options
    assert set(recipe.detector.options) <= set(options)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('preset = "vindr"', 'preset = "mine"', "unknown preset 'mine'"),
        ('version = "1"', "version = 1", "'version' must be of type str"),
        ('version = "1"', "", "'version' is missing"),
        ('version = "1"', 'version = "1"\ncolour = 3', "unknown keys: colour"),
        ('name = "second"', 'name = "first"', "share the name 'first'"),
        ('"untrained:2"', '"untrained:x"', "write untrained:SEED"),
        ('"untrained:2"', '"untrained:99999999999"', "write untrained:SEED"),
        ("[[160, 128], [160, 128]", "[[160, 128], [1, 128]", "sizes is a list"),
        ('"small_sparse_rcnn"', '"small_densenet"', "unknown detector architecture"),
        ("[golden]", "[golden]\nbatch_sizes = [0]", "batch_sizes is a list"),
        ("[golden]", "[golden]\nframes = 3", "golden: unknown keys: frames"),
        ("[detector]", '[detector]\nwrapper = "ema"', "wrapper is one of"),
        (
            "[detector]",
            "[detector]\noptions.x = [1]",
            "a number, boolean or text",
        ),
        ("preset =", "preset", "not TOML"),
    ],
)
def test_a_wrong_recipe_is_one_line_with_the_way_out(
    tmp_path, old, new, message
) -> None:
    assert old in RECIPE
    with pytest.raises(RecipeError, match=message) as caught:
        planned(tmp_path, text=RECIPE.replace(old, new, 1))
    assert "\n" not in str(caught.value)


def test_a_missing_recipe_is_named(tmp_path) -> None:
    with pytest.raises(RecipeError, match=r"absent\.toml"):
        recipe_from_toml(tmp_path / "absent.toml")


def test_the_vindr_preset_is_the_official_code(tmp_path) -> None:
    bundle = planned(tmp_path)
    detector = bundle.networks["detector"]
    assert [round(v, 3) for v in detector.input.mean] == [103.53, 116.28, 123.675]
    assert list(detector.input.std) == [1, 1, 1]
    assert bundle.combination.rule == pb.COMBINATION_LOGIT_MEAN
    assert bundle.combination.probability_clip == 1e-6
    assert bundle.decision.threshold == 0.28
    assert bundle.decision.comparison == pb.GREATER_OR_EQUAL
    assert bundle.fusion.comparison == pb.GREATER_OR_EQUAL
    assert detector.detection.nms_iou == 0.7
    assert detector.detection.nms_class_wise
    assert detector.detection.score_floor == 0
    assert [c.name for c in bundle.classes][2] == "Spondylolysthesis"
    assert len({c.code_value for c in bundle.classes}) == 7
    assert all(len(c.code_value) <= 16 for c in bundle.classes)


def test_the_paper_preset_is_the_text(tmp_path) -> None:
    text = RECIPE.replace('"vindr"', '"paper"')
    bundle = planned(tmp_path, text=text)
    classifier = bundle.networks["classifier"].input
    means = [0.485, 0.456, 0.406]
    deviations = [0.229, 0.224, 0.225]
    assert [v / 255 for v in classifier.mean] == pytest.approx(means)
    assert [v / 255 for v in classifier.std] == pytest.approx(deviations)
    assert bundle.combination.rule == pb.COMBINATION_PROBABILITY_MEAN
    assert bundle.decision.threshold == 0.2808
    assert bundle.fusion.comparison == pb.GREATER


def test_overrides_merge_messages_and_replace_lists_and_scalars(tmp_path) -> None:
    extra = """
[bundle]
notice = "mine"
classes = [{name = "A", code_value = "A", code_scheme = "99X"}]
[bundle.decision]
threshold = 0.4
comparison = "GREATER"
[bundle.fusion.reverse]
threshold = 0.3
"""
    text = RECIPE.replace("candidates = 30", "candidates = 10")
    bundle = planned(tmp_path, extra, text)
    assert bundle.notice == "mine"
    assert [c.name for c in bundle.classes] == ["A"]
    assert bundle.decision.comparison == pb.GREATER
    assert bundle.decision.uncertain_from == 0.28
    assert bundle.fusion.HasField("reverse")
    assert bundle.fusion.low_confidence_cutoff == 0.5
    edge = bundle.networks["detector"].input.canvas.shortest_edge
    assert (edge.short_edge, edge.pad_multiple) == (120, 32)


def test_choosing_another_canvas_clears_the_presets(tmp_path) -> None:
    text = RECIPE.split("[bundle.networks.detector.input")[0]
    extra = "[bundle.networks.detector.input.canvas.native]\npad_multiple = 64\n"
    canvas = planned(tmp_path, extra, text).networks["detector"].input.canvas
    assert canvas.WhichOneof("kind") == "native"


NETWORK = "[bundle.networks.detector"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("[bundle]\ncolour = 1", r"bundle\.colour: no such field; known here: classes"),
        ("[bundle.decision]\nthreshold = 'x'", "threshold: 'x' does not fit"),
        ("[bundle.decision]\nthreshold = 1.0", r"threshold: must lie in \(0, 1\)"),
        ("[bundle.fusion]\nrule = 77", "fusion.rule: 77 is not known"),
        ("[bundle.fusion.reverse]\nno_box_score = 0.1", "reverse.threshold: must lie"),
        (f"{NETWORK}.detection]\nnms_iou = 1.5", "nms_iou: must lie in"),
        (f"{NETWORK}.input]\nresampler_version = 'pillow 13'", "'pillow 13' is not"),
        (f"{NETWORK}.input]\nmean = [1]\nstd = [1]\nfill = [1]", "three values"),
        ("[bundle.decision]\nuncertain_from = 0.5", "uncertain_from: must not exceed"),
        (
            "[bundle.combination]\nprobability_clip = 0.5",
            "probability_clip: must lie in",
        ),
        ("[bundle]\ndecision = 3", "must be a table"),
        ("[bundle]\nformat = 2", "is derived, not chosen"),
        ("[bundle]\nfiles = []", "is derived, not chosen"),
        ("[bundle]\nclasses = []", "classes: at least one"),
        (f"{NETWORK}]\nprecision = 'fp16'", "is derived"),
        (f"{NETWORK}]\nfile = '../x.onnx'", "must be relative, plain and inside"),
        (f"{NETWORK}]\nfile = 'a//x.onnx'", "must be relative, plain and inside"),
        (f"{NETWORK}]\nfile = 'detector.bin'", "ends in .onnx"),
        (f"{NETWORK}]\nfile = 'networks/classifier.onnx'", "share one file"),
        (f"{NETWORK}.detection]\ncandidates = 9999", "returns only 140"),
        (f"{NETWORK}.input]\nstd = [1, 1]", "one value per channel"),
        (f"{NETWORK}.input]\nstd = [1, 1, 0]", "std: must be above 0"),
        (f"{NETWORK}.input]\nresampler = 'TORCH_BILINEAR_F32'", "PILLOW"),
        (f"{NETWORK}.input]\ntakes_image_size = false", "true for a detector"),
        (f"{NETWORK}.input.canvas.fixed]\nheight = 100\nwidth = 96", "multiples of 32"),
        (
            f"{NETWORK}.input.canvas.fixed]\nheight = 96",
            "fixed.width: must lie in",
        ),
        ("[bundle.networks.segmenter]\nfile = 'x'", "there are classifier, detector"),
        (
            "[bundle.networks.classifier.input.canvas.native]\npad_multiple = 32",
            "fixed canvas",
        ),
        (
            "[bundle.combination]\nrule = 'COMBINATION_WEIGHTED'\nweights = [1]",
            "2 weights",
        ),
    ],
)
def test_an_impossible_override_is_refused_before_anything_is_built(
    tmp_path, extra, message
) -> None:
    text = RECIPE
    if f"{NETWORK}.detection]" in extra:
        text = text.replace("[bundle.networks.detector.detection]\ncandidates = 30", "")
    with pytest.raises(RecipeError, match=message):
        planned(tmp_path, extra, text)
