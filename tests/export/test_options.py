"""Options of every family: what is possible can be built, the rest is one line."""

from __future__ import annotations

import math
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from support.efficientdets import SMALL_LEVEL
from support.retinanets import ARCHITECTURE as RETINANET
from support.small_faster_rcnns import ARCHITECTURE as FASTER_RCNN
from support.small_networks import RECIPE, SMALL, write_recipe

from spinert.export.architectures import ARCHITECTURES
from spinert.export.checkpoints.style import Option
from spinert.export.errors import RecipeError
from spinert.export.families.efficientdet import efficientdet
from spinert.export.members import OpenedMember, opened_recipe
from spinert.export.options import checked_options
from spinert.export.recipe import recipe_from_toml

CLASSES = 7
NETWORKS = MappingProxyType(
    {
        **SMALL,
        "small_faster_rcnn": FASTER_RCNN,
        "small_retinanet": RETINANET,
        "small_efficientdet": efficientdet(SMALL_LEVEL),
    }
)

Values = tuple[Option, ...]
EPS: tuple[Values, Values] = ((0.0, 0.1), (-1e-5, 0.2, math.nan, math.inf))
SELECTED: tuple[Values, Values] = ((1, 3840), (0, -1, 3841, 10**400))
EDGES_PX: tuple[Values, Values] = ((0.0, 100), (-1.0, 101.0, math.nan))

# By network and option that is not merely true or false: what can be, what cannot.
POSSIBLE: dict[str, dict[str, tuple[Values, Values]]] = {
    "small_densenet": {},
    "small_sparse_rcnn": {
        "proposals": SELECTED,
        "frozen_bn_eps": EPS,
        "roi_sampling": ((1, 16), (0, 17)),
    },
    "small_faster_rcnn": {
        "frozen_bn_eps": EPS,
        "background": (("first", "last"), ("none", "")),
        "nms_rounds": ((1, 1000), (0, -1, 1001)),
        "proposals": SELECTED,
        "rpn_per_level": SELECTED,
        "roi_sampling": ((0, 16), (-1, 17)),
        "rpn_min_box_edge_px": EDGES_PX,
        "min_box_edge_px": EDGES_PX,
        "rpn_convs": ((1, 8), (0, 9)),
        "head_convs": ((0, 8), (-1, 9)),
        "head_linears": ((1, 8), (0, 9)),
    },
    "small_retinanet": {
        "frozen_bn_eps": EPS,
        "background": (("first", "none"), ("last", "")),
        "head_groups": ((0, 1, 128), (7, -1, 256, 512)),
        "top_k": SELECTED,
    },
    "small_efficientdet": {
        "backbone_bn_eps": EPS,
        "anchor_scale": ((0.01, 100), (0.0, -1.0, 101.0, math.nan)),
        "anchor_octaves": ((1, 16), (0, 17)),
        "anchor_shapes": (
            ("1x1", "1x1 " * 16, "0.01x100"),
            ("", "1 2 0.5", "1x1x1", "1x-1", "1xnan", "1xinf", "1x0", "1x1 " * 17),
        ),
        "top_k": SELECTED,
    },
}
CASES = [(name, option) for name, options in POSSIBLE.items() for option in options]


def settled(name: str, option: str, value: Option) -> dict[str, Option]:
    """Return the options of the style with most modules, one of them set."""
    architecture = NETWORKS[name]
    given = {option: value}
    if option == "rpn_per_level":
        given["proposals"] = 1
    defaults = {**architecture.options, **architecture.styles[-1].options}
    options = checked_options(given, defaults, architecture.limits, name)
    assert architecture.conflict(options) == ""
    return options


@pytest.mark.parametrize("name", NETWORKS)
def test_every_option_that_is_not_just_true_or_false_has_a_limit(name) -> None:
    architecture = NETWORKS[name]
    assert set(architecture.limits) == set(POSSIBLE[name])
    for style in architecture.styles:
        defaults = {**architecture.options, **style.options}
        free = {key for key, value in defaults.items() if type(value) is not bool}
        assert free == set(POSSIBLE[name])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_default_is_within_its_limit(name) -> None:
    architecture = ARCHITECTURES[name]
    for style in architecture.styles:
        defaults = {**architecture.options, **style.options}
        options = checked_options(defaults, defaults, architecture.limits, name)
        assert options == defaults
        assert architecture.conflict(options) == ""


@pytest.mark.parametrize(("name", "option"), CASES)
def test_what_is_possible_can_be_built_and_answers(name, option) -> None:
    architecture = NETWORKS[name]
    for value in POSSIBLE[name][option][0]:
        options = settled(name, option, value)
        with torch.device("meta"), torch.no_grad():
            network = architecture.build(options, CLASSES).eval()
            size = torch.zeros(1, 2, dtype=torch.int32)
            answer = network(torch.zeros(1, 3, 128, 128), size)
        assert answer[0].shape == (1, architecture.available(options, CLASSES), 4)


@pytest.mark.parametrize(("name", "option"), CASES)
def test_what_is_impossible_is_refused_with_its_limit(name, option) -> None:
    limit = NETWORKS[name].limits[option]
    for value in POSSIBLE[name][option][1]:
        with pytest.raises(RecipeError) as caught:
            settled(name, option, value)
        message = f"{name}: options.{option} = {value!r}: {limit.words}"
        assert str(caught.value) == message


def test_limits_are_told_in_words() -> None:
    told = {key: limit.words for key, limit in RETINANET.limits.items()}
    assert told == {
        "frozen_bn_eps": "from 0 to 0.1",
        "background": "one of first, none",
        "head_groups": "0, or a divisor of 256 up to 128",
        "top_k": "from 1 to 3840, the most that TensorRT's TopK selects",
    }


def opened(folder: Path, architecture: str, options: str) -> OpenedMember:
    """Open a recipe whose detector has these options, in TOML."""
    text = RECIPE.replace(
        '"small_sparse_rcnn"', f'"{architecture}"\noptions = {{ {options} }}'
    )
    recipe = recipe_from_toml(write_recipe(folder, text))
    return opened_recipe(recipe, NETWORKS).detector


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        ("small_retinanet", "top_k = nan", "options.top_k = nan: must be of type int"),
        ("small_retinanet", "top_k = true", "top_k = True: must be of type int"),
        ("small_retinanet", "head_groups = 7", "7: 0, or a divisor of 256 up to 128"),
        ("small_retinanet", 'frozen_bn_eps = "a"', "'a': must be of type float"),
        ("small_retinanet", "eps = 1", "no option 'eps'; one of anchors_rounded, "),
        (
            "small_faster_rcnn",
            "rpn_per_level = 199",
            "options.proposals = 1000: 5 levels of options.rpn_per_level = 199 give "
            "995; lower the one or raise the other",
        ),
        ("small_faster_rcnn", "proposals = 3841, rpn_per_level = 1", "from 1 to 3840"),
    ],
)
def test_a_recipe_is_opened_with_possible_options_only(
    tmp_path, architecture, options, message
) -> None:
    with pytest.raises(RecipeError, match=rf"^{architecture}: ") as caught:
        opened(tmp_path, architecture, options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_as_many_proposals_as_the_levels_have_are_possible(tmp_path) -> None:
    member = opened(tmp_path, "small_faster_rcnn", "rpn_per_level = 200")
    assert member.options["proposals"] == 5 * member.options["rpn_per_level"]


def test_a_whole_number_may_stand_for_a_fraction(tmp_path) -> None:
    member = opened(tmp_path, "small_retinanet", "frozen_bn_eps = 0")
    assert type(member.options["frozen_bn_eps"]) is float
