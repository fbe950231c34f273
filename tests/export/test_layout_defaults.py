"""What each key layout brings along: pixel statistics, suppression, counts, anchors."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from support import faster_rcnns, retinanets
from support.efficientdets import ARCHITECTURES as EFFICIENTDETS
from support.small_networks import RECIPE, SMALL, write_recipe
from torch import Tensor

from spinert.export.architecture import Architecture
from spinert.export.checkpoints.stored import check_anchors
from spinert.export.checkpoints.style import Option, Style
from spinert.export.errors import CheckpointError, RecipeError
from spinert.export.loading import check_files
from spinert.export.members import opened_recipe
from spinert.export.networks.anchors import AnchorSpec
from spinert.export.plan import bundle_from_recipe
from spinert.export.recipe import recipe_from_toml
from spinert.proto import bundle_pb2 as pb

BGR = [103.53, 116.28, 123.675]
IMAGENET = [123.675, 116.28, 103.53]
IMAGENET_STD = [58.395, 57.12, 57.375]
INPUT = "[bundle.networks.classifier.input]\n"
KNOWN = {**SMALL, **EFFICIENTDETS, "small_retinanet": retinanets.ARCHITECTURE}


def planned(folder: Path, text: str = RECIPE) -> pb.Bundle:
    recipe = recipe_from_toml(write_recipe(folder, text))
    return bundle_from_recipe(recipe, opened_recipe(recipe, KNOWN))


def statistics(network: pb.Network) -> tuple[list[float], list[float]]:
    rounded = [
        [round(v, 3) for v in getattr(network.input, n)] for n in ("mean", "std")
    ]
    return rounded[0], rounded[1]


# ------------------------------------------------------------------- classifiers


def with_styles(first: str, second: str) -> str:
    text = RECIPE.replace('"untrained:1"', f'"untrained:1"\nstyle = "{first}"', 1)
    return text.replace('"untrained:2"', f'"untrained:2"\nstyle = "{second}"', 1)


@pytest.mark.parametrize("style", ["torchvision", "torchvision_old"])
def test_a_torchvision_densenet_brings_imagenets_statistics(tmp_path, style) -> None:
    bundle = planned(tmp_path, with_styles(style, style))
    assert statistics(bundle.networks["classifier"]) == (IMAGENET, IMAGENET_STD)
    # The detector's are of another file.
    assert statistics(bundle.networks["detector"]) == (BGR, [1, 1, 1])


@pytest.mark.parametrize(
    ("preset", "expected"),
    [("vindr", (BGR, [1, 1, 1])), ("paper", (IMAGENET, IMAGENET_STD))],
)
def test_an_official_densenet_leaves_the_presets_statistics(
    tmp_path, preset, expected
) -> None:
    text = with_styles("vindr", "vindr")
    text = text.replace('preset = "vindr"', f'preset = "{preset}"')
    assert expected == statistics(planned(tmp_path, text).networks["classifier"])


def test_a_recipes_statistics_take_precedence_over_the_layouts(tmp_path) -> None:
    text = with_styles("torchvision", "torchvision") + INPUT + "mean = [1, 2, 3]\n"
    bundle = planned(tmp_path, text)
    assert statistics(bundle.networks["classifier"]) == ([1, 2, 3], IMAGENET_STD)


def test_layouts_that_disagree_are_refused_with_the_fields_to_state(tmp_path) -> None:
    text = with_styles("vindr", "torchvision")
    with pytest.raises(RecipeError) as caught:
        planned(tmp_path, text)
    message = str(caught.value)
    assert "first (style vindr) mean [103.53, 116.28, 123.675] std [1, 1, 1]" in message
    assert "second (style torchvision) mean [123.675, 116.28, 103.53]" in message
    fields = "bundle.networks.classifier.input"
    assert message.endswith(f"; state {fields}.mean and {fields}.std")
    assert "\n" not in message


def test_layouts_that_disagree_follow_a_recipe_that_states_both(tmp_path) -> None:
    text = with_styles("vindr", "torchvision") + INPUT
    with pytest.raises(RecipeError, match=r"state bundle\S+input\.std$"):
        planned(tmp_path, text + "mean = [1, 2, 3]\n")
    bundle = planned(tmp_path, text + "mean = [1, 2, 3]\nstd = [4, 5, 6]\n")
    assert statistics(bundle.networks["classifier"]) == ([1, 2, 3], [4, 5, 6])


def test_layouts_agree_where_the_preset_has_the_same_statistics(tmp_path) -> None:
    text = with_styles("vindr", "torchvision")
    text = text.replace('preset = "vindr"', 'preset = "paper"')
    bundle = planned(tmp_path, text)
    assert statistics(bundle.networks["classifier"]) == (IMAGENET, IMAGENET_STD)


# ----------------------------------------------------------------- Sparse R-CNN


SPARSE = 'checkpoint = "untrained:3"'
BY_ITSELF = RECIPE.replace("candidates = 30", "score_floor = 0.0")


def of_sparse(folder: Path, *, style: str = "", proposals: int = 20) -> pb.Network:
    """Plan a file with the keys of both layouts."""
    entry = SMALL["small_sparse_rcnn"]
    options = {**entry.options, "proposals": proposals}
    state = entry.build(options, 7).state_dict()
    torch.save({"model": state}, folder / "sparse.pth")
    mine = 'checkpoint = "sparse.pth"\n' + f"options.proposals = {proposals}\n"
    mine += f'style = "{style}"\n' if style else ""
    return planned(folder, BY_ITSELF.replace(SPARSE, mine)).networks["detector"]


def test_an_unnamed_sparse_rcnn_is_the_vindr_detector(tmp_path) -> None:
    network = of_sparse(tmp_path)
    assert statistics(network) == (BGR, [1, 1, 1])
    assert (network.detection.nms_iou, network.detection.nms_class_wise) == (0.7, True)


def test_a_sparse_rcnn_of_coco_is_named_and_not_suppressed(tmp_path) -> None:
    network = of_sparse(tmp_path, style="sparsercnn_coco")
    assert statistics(network) == (IMAGENET, IMAGENET_STD)
    assert network.detection.nms_iou == 0


@pytest.mark.parametrize("style", ["sparsercnn", "sparsercnn_coco"])
@pytest.mark.parametrize("proposals", [20, 110])
def test_as_many_candidates_as_proposals_are_kept(tmp_path, style, proposals) -> None:
    rule = of_sparse(tmp_path, style=style, proposals=proposals).detection
    assert (rule.candidates, rule.max_detections) == (proposals, proposals)


def test_a_recipe_keeps_another_number_of_candidates(tmp_path) -> None:
    text = BY_ITSELF.replace("score_floor = 0.0", "max_detections = 7")
    rule = planned(tmp_path, text).networks["detector"].detection
    assert (rule.candidates, rule.max_detections) == (20, 7)


# ---------------------------------------------------------------- stored anchors


def stored(architecture: Architecture, style: Style, **options: Option):
    """Return the options of a style, and the anchors stored with them."""
    merged = {**architecture.options, **style.options, **options}
    return merged, dict(architecture.anchors(merged, {}))


def spelled_out(spec: AnchorSpec, level: int, bases: list[float]) -> list[list[float]]:
    """Write a level's anchors from their definition: area of a square, ratio."""
    rows = []
    for base in bases:
        for ratio in spec.ratios:
            width = (base * base / ratio) ** 0.5
            rows.append([-width / 2, -width * ratio / 2, width / 2, width * ratio / 2])
    assert list(spec.sizes[level]) == pytest.approx(bases)
    return rows


DETECTRON2 = {
    "faster_rcnn": (
        faster_rcnns.ARCHITECTURE,
        "proposal_generator.anchor_generator.cell_anchors",
    ),
    "retinanet": (retinanets.ARCHITECTURE, "anchor_generator.cell_anchors"),
}


def detectron2_buffers(name: str) -> dict[str, Tensor]:
    _, key = DETECTRON2[name]
    octaves = [0, 1 / 3, 2 / 3] if name == "retinanet" else [0]
    network = (retinanets if name == "retinanet" else faster_rcnns).case("detectron2")
    own = network.network.spec
    spec = own.anchors if name == "retinanet" else own.rpn.anchors
    return {
        f"{key}.{level}": torch.tensor(
            spelled_out(spec, level, [32 * 2 ** (level + part) for part in octaves])
        )
        for level in range(5)
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", DETECTRON2)
def test_detectron2s_own_anchors_are_accepted(name, dtype) -> None:
    architecture, _ = DETECTRON2[name]
    style = architecture.styles[0]
    options, expected = stored(architecture, style)
    tensors = {k: v.to(dtype) for k, v in detectron2_buffers(name).items()}
    assert tensors.keys() == expected.keys()
    assert all(style.ignored(key) for key in tensors)
    check_anchors(tensors, architecture, style, options, "zoo.pkl")


@pytest.mark.parametrize("name", DETECTRON2)
@pytest.mark.parametrize("change", ["rounded", "fewer", "scaled"])
def test_other_anchors_of_detectron2_are_named(name, change) -> None:
    architecture, key = DETECTRON2[name]
    style = architecture.styles[0]
    options, _ = stored(architecture, style)
    tensors = detectron2_buffers(name)
    changed = {
        "rounded": lambda table: table.round(),
        "fewer": lambda table: table[1:],
        "scaled": lambda table: table * 1.01,
    }[change]
    tensors[f"{key}.0"] = changed(tensors[f"{key}.0"])
    message = rf"^old\.pth: {re.escape(key)}\.0 has .* options\.anchors_rounded or"
    with pytest.raises(CheckpointError, match=message) as caught:
        check_anchors(tensors, architecture, style, options, "old.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", DETECTRON2)
def test_more_levels_than_the_network_has_hold_no_known_anchors(name) -> None:
    architecture, key = DETECTRON2[name]
    assert not architecture.styles[0].ignored(f"{key}.5")


def effdet_table(edge: tuple[int, int], scale: float = 4.0) -> Tensor:
    """Write EfficientDet's anchors with loops, from its description."""
    rows = []
    for level in range(3, 8):
        stride = 2**level
        for y in range(stride // 2, edge[0], stride):
            for x in range(stride // 2, edge[1], stride):
                for octave in (0, 1 / 3, 2 / 3):
                    side = scale * stride * 2**octave
                    for wide, tall in ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4)):
                        half = side * tall / 2, side * wide / 2
                        low = [y - half[0], x - half[1]]
                        rows.append([*low, y + half[0], x + half[1]])
    return torch.tensor(rows)


SMALL_DET = EFFICIENTDETS["small"]
DET_OPTIONS = {**SMALL_DET.options, **SMALL_DET.styles[0].options}


@pytest.mark.parametrize("edge", [(256, 256), (128, 384), (384, 128)])
def test_effdets_own_anchors_are_accepted_at_every_size(edge) -> None:
    tensors = {"anchors.boxes": effdet_table(edge)}
    check_anchors(tensors, SMALL_DET, SMALL_DET.styles[0], DET_OPTIONS, "best.pth")


NO_SIZE = "anchors of no known input size"
TABLES = {
    "scale": (effdet_table((128, 128), 5.0), r"\[-16, -16, 24, 24\] in row 0, not"),
    "cut": (effdet_table((128, 128))[:-1], NO_SIZE),
    "flat": (torch.zeros(8), NO_SIZE),
    "number": (torch.tensor(3.0), NO_SIZE),
    "empty": (torch.zeros((0, 4)), NO_SIZE),
    "nan": (torch.full((9, 4), float("nan")), NO_SIZE),
}


@pytest.mark.parametrize("case", TABLES)
def test_other_anchors_of_effdet_are_named_with_the_options_to_change(case) -> None:
    table, told = TABLES[case]
    with pytest.raises(CheckpointError, match=told) as caught:
        check_anchors(
            {"anchors.boxes": table},
            SMALL_DET,
            SMALL_DET.styles[0],
            DET_OPTIONS,
            "best.pth",
        )
    message = str(caught.value)
    assert message.startswith("best.pth: anchors.boxes has ")
    assert "options.anchor_octaves, options.anchor_scale, options.anchor_sh" in message
    assert "\n" not in message


def test_an_option_makes_a_files_own_anchors_fit() -> None:
    tensors = {"anchors.boxes": effdet_table((128, 128), 5.0)}
    options = {**DET_OPTIONS, "anchor_scale": 5.0}
    check_anchors(tensors, SMALL_DET, SMALL_DET.styles[0], options, "best.pth")


def test_a_file_with_other_anchors_is_refused_before_anything_is_built(
    tmp_path,
) -> None:
    own = retinanets.case("detectron2")
    buffers = detectron2_buffers("retinanet")
    buffers["anchor_generator.cell_anchors.2"] += 1.0
    torch.save({"model": own.file() | buffers}, tmp_path / "mine.pth")
    text = BY_ITSELF.replace("small_sparse_rcnn", "small_retinanet")
    text = text.replace("untrained:3", "mine.pth")
    recipe = recipe_from_toml(write_recipe(tmp_path, text))
    opened = opened_recipe(recipe, KNOWN)
    with pytest.raises(CheckpointError, match=r"mine\.pth: anchor_generator\S+\.2 has"):
        check_files(opened, classes=7)


# ---------------------------------------------------- thresholds beside weights


THRESHOLDS = [
    (np.float32(0.4375), "0.4375"),
    (0.25, "0.25"),
    (torch.tensor([0.5]), "0.5"),
    (float("nan"), None),
    (True, None),
    ([0.5], None),
    (torch.zeros(2), None),
    (10**400, None),
    (torch.empty(1, device="meta"), None),
]


@pytest.mark.parametrize(("value", "told"), THRESHOLDS)
def test_a_threshold_beside_the_weights_is_noted_with_its_field(
    tmp_path, value, told
) -> None:
    entry = SMALL["small_densenet"]
    state = entry.build(dict(entry.options), 7).state_dict()
    content = {"model_state_dict": state, "threshold": value}
    torch.save(content, tmp_path / "mine.pth")
    text = RECIPE.replace("untrained:1", "mine.pth")
    recipe = recipe_from_toml(write_recipe(tmp_path, text))
    opened = opened_recipe(recipe, KNOWN)
    found = [note for note in opened.classifiers[0].record().notes if "thres" in note]
    where = "the recipe's bundle.decision.threshold decides"
    expected = [f"threshold {told} lies beside the weights; {where}"] if told else []
    assert found == expected
    assert bundle_from_recipe(recipe, opened).decision.threshold == 0.28


def test_a_threshold_beside_a_detector_names_its_score_floor(tmp_path) -> None:
    entry = SMALL["small_sparse_rcnn"]
    state = entry.build(dict(entry.options), 7).state_dict()
    torch.save({"threshold": 0.25, "model": state}, tmp_path / "mine.pth")
    text = RECIPE.replace("untrained:3", "mine.pth")
    opened = opened_recipe(recipe_from_toml(write_recipe(tmp_path, text)), KNOWN)
    (note,) = (note for note in opened.detector.record().notes if "thresh" in note)
    assert "bundle.networks.detector.detection.score_floor decides" in note


# ------------------------------------------------------------------- file names


@pytest.mark.parametrize(
    "file",
    [
        "networks/classifier.fp16.onnx",
        "networks/classifier.proposals.onnx",
        "networks/classifier.onnx/detector.onnx",
        "networks.onnx",
    ],
)
def test_a_file_in_the_way_of_another_networks_is_refused(tmp_path, file) -> None:
    text = f'{RECIPE}\n[bundle.networks.detector]\nfile = "{file}"\n'
    if file == "networks.onnx":
        text += '[bundle.networks.classifier]\nfile = "networks.onnx/own.onnx"\n'
    message = r"^bundle\.networks\.detector\.file: .* is in the way of networks\.class"
    with pytest.raises(RecipeError, match=message):
        planned(tmp_path, text)


def test_a_name_that_only_looks_alike_is_no_clash(tmp_path) -> None:
    name = "networks/classifier.mine.onnx"
    text = f'{RECIPE}\n[bundle.networks.detector]\nfile = "{name}"\n'
    assert planned(tmp_path, text).networks["detector"].file == name
