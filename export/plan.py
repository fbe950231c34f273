"""The bundle a recipe asks for, before anything is built."""

from __future__ import annotations

from collections.abc import Mapping

from spinert.export.architectures import CLASSIFIER, DETECTOR, Architecture
from spinert.export.errors import RecipeError
from spinert.export.members import architecture_of
from spinert.export.overrides import check_network, override
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


def bundle_from_recipe(
    recipe: Recipe, architectures: Mapping[str, Architecture]
) -> pb.Bundle:
    """Return preset plus overrides: everything that is chosen, nothing measured.

    Raises:
        RecipeError: Preset, architecture or override is unknown or contradictory.
    """
    if recipe.preset not in PRESETS:
        known = ", ".join(sorted(PRESETS))
        raise RecipeError(f"unknown preset {recipe.preset!r}; one of {known}")
    members = (*recipe.classifiers, recipe.detector)
    bundle = PRESETS[recipe.preset]()
    bundle.name = recipe.name
    bundle.version = recipe.version
    seeds = [member.seed for member in members]
    if any(seed is not None for seed in seeds):
        bundle.notice = _UNTRAINED_NOTICE
    classifier, detector = bundle.networks[CLASSIFIER], bundle.networks[DETECTOR]
    classifier.members.extend(member.name for member in recipe.classifiers)
    used = dict.fromkeys(member.architecture for member in recipe.classifiers)
    classifier.architecture = "+".join(used)
    detector.architecture = recipe.detector.architecture
    override(bundle, recipe.overrides, "bundle")
    _check_rules(bundle)
    stride = architecture_of(recipe.detector, DETECTOR, architectures).stride
    for member in recipe.classifiers:
        architecture_of(member, CLASSIFIER, architectures)
    if classifier.input.canvas.WhichOneof("kind") != "fixed":
        message = "a classifier takes a fixed canvas; nothing tells it the padding"
        raise RecipeError(f"bundle.networks.classifier.input.canvas: {message}")
    check_network(classifier, role=CLASSIFIER, stride=1)
    check_network(detector, role=DETECTOR, stride=stride)
    return bundle
