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

__all__ = ["bundle_from_recipe"]

_UNTRAINED_NOTICE = (
    "Untrained weights: every answer is meaningless and only shows that the system "
    "works. Never use it for diagnosis."
)


def _check_rules(bundle: pb.Bundle) -> None:
    """Check what several fields must agree on."""
    if not 0.0 < bundle.decision.threshold < 1.0:
        raise RecipeError("bundle.decision.threshold: must be between 0 and 1")
    if bundle.decision.uncertain_from > bundle.decision.uncertain_to:
        raise RecipeError("bundle.decision: uncertain_from is above uncertain_to")
    if not 0.0 <= bundle.combination.probability_clip < 0.5:
        raise RecipeError("bundle.combination.probability_clip: from 0 to below 0.5")
    if not bundle.classes:
        raise RecipeError("bundle.classes: at least one class is needed")
    if bundle.combination.rule == pb.COMBINATION_WEIGHTED:
        members = len(bundle.networks[CLASSIFIER].members)
        weights = bundle.combination.weights
        if len(weights) != members or abs(sum(weights) - 1.0) > 1e-6:
            message = f"{members} weights, one per classifier, with sum 1"
            raise RecipeError(f"bundle.combination.weights: give {message}")
    files = [network.file for network in bundle.networks.values()]
    if len(set(files)) != len(files):
        raise RecipeError("bundle.networks: two networks share one file name")


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
    stride = architecture_of(recipe.detector, DETECTOR, architectures).stride
    for member in recipe.classifiers:
        architecture_of(member, CLASSIFIER, architectures)
    if classifier.input.canvas.WhichOneof("kind") != "fixed":
        message = "a classifier takes a fixed canvas; nothing tells it the padding"
        raise RecipeError(f"bundle.networks.classifier.input.canvas: {message}")
    check_network(classifier, role=CLASSIFIER, stride=1)
    check_network(detector, role=DETECTOR, stride=stride)
    _check_rules(bundle)
    return bundle
