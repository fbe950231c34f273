"""The bundle a recipe asks for, before anything is built."""

from __future__ import annotations

from spinert.export.architecture import CLASSIFIER, DETECTOR
from spinert.export.errors import RecipeError
from spinert.export.members import OpenedRecipe, network_defaults
from spinert.export.overrides import check_network, check_selection, override
from spinert.export.presets import PRESETS
from spinert.export.recipe import Recipe
from spinert.proto import bundle_pb2 as pb
from spinert.proto.bundle_rules import broken_choices

__all__ = ["bundle_from_recipe"]

_UNTRAINED_NOTICE = (
    "Untrained weights: every answer is meaningless and only shows that the system "
    "works. Never use it for diagnosis."
)


def _check_rules(bundle: pb.Bundle) -> None:
    """Refuse what the runtime would refuse, while nothing is built yet."""
    if broken := broken_choices(bundle):
        raise RecipeError(f"bundle.{broken[0]}")


def _preset(recipe: Recipe) -> pb.Bundle:
    if recipe.preset not in PRESETS:
        known = ", ".join(sorted(PRESETS))
        raise RecipeError(f"unknown preset {recipe.preset!r}; one of {known}")
    bundle = PRESETS[recipe.preset]()
    bundle.name = recipe.name
    bundle.version = recipe.version
    return bundle


def _is_free(canvas: pb.CanvasPolicy) -> bool:
    return canvas.WhichOneof("kind") not in ("fixed", "letterbox")


def bundle_from_recipe(recipe: Recipe, opened: OpenedRecipe) -> pb.Bundle:
    """Return preset, style of the detector and overrides: nothing measured.

    Raises:
        RecipeError: Preset or override is unknown or contradictory.
    """
    bundle = _preset(recipe)
    if any(member.tensors is None for member in opened.members):
        bundle.notice = _UNTRAINED_NOTICE
    classifier, detector = bundle.networks[CLASSIFIER], bundle.networks[DETECTOR]
    classifier.members.extend(member.name for member in recipe.classifiers)
    used = dict.fromkeys(member.architecture for member in recipe.classifiers)
    classifier.architecture = "+".join(used)
    detector.architecture = recipe.detector.architecture
    style = opened.detector.style.name
    override(detector, network_defaults(opened.detector), f"style {style}")
    override(bundle, recipe.overrides, "bundle")
    architecture = opened.detector.architecture
    available = architecture.available(opened.detector.options, len(bundle.classes))
    rule = detector.detection
    rule.candidates = rule.candidates or available
    _check_rules(bundle)
    if classifier.input.canvas.WhichOneof("kind") != "fixed":
        message = "a classifier takes a fixed canvas; nothing tells it the padding"
        raise RecipeError(f"bundle.networks.classifier.input.canvas: {message}")
    check_network(classifier, role=CLASSIFIER, stride=1)
    if architecture.fixed_size and _is_free(detector.input.canvas):
        message = "this detector takes a letterbox or a fixed canvas"
        raise RecipeError(f"bundle.networks.detector.input.canvas: {message}")
    check_network(detector, role=DETECTOR, stride=architecture.stride)
    check_selection(detector, available)
    return bundle
