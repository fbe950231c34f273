"""The bundle a recipe asks for, before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from spinert.export.architecture import CLASSIFIER, DETECTOR
from spinert.export.checkpoints.style import Style
from spinert.export.errors import RecipeError
from spinert.export.members import OpenedMember, OpenedRecipe, network_defaults
from spinert.export.network_files import clash
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


def _say_members(bundle: pb.Bundle, recipe: Recipe) -> None:
    classifier = bundle.networks[CLASSIFIER]
    classifier.members.extend(member.name for member in recipe.classifiers)
    used = dict.fromkeys(member.architecture for member in recipe.classifiers)
    classifier.architecture = "+".join(used)
    bundle.networks[DETECTOR].architecture = recipe.detector.architecture


def _lay_defaults(network: pb.Network, member: OpenedMember) -> None:
    """Lay over the preset what style, file and options of a member bring."""
    style = f"style {member.style.name}"
    override(network, network_defaults(member), style)
    follows = member.architecture.detection(member.options)
    override(network, {"detection": dict(follows)} if follows else {}, style)


def _laid(
    bundle: pb.Bundle, classifier: OpenedMember, overrides: Mapping[str, Any]
) -> pb.Bundle:
    """Return a bundle as the recipe has it where this were the only classifier."""
    laid = pb.Bundle()
    laid.CopyFrom(bundle)
    _lay_defaults(laid.networks[CLASSIFIER], classifier)
    override(laid, overrides, "bundle")
    return laid


def _check_one_input(opened: OpenedRecipe, laid: list[pb.Bundle]) -> None:
    """Check that classifiers want the same input: their graph has only one."""
    inputs = [bundle.networks[CLASSIFIER].input for bundle in laid]
    names = [field.name for field in pb.NetworkInput.DESCRIPTOR.fields]
    apart = [
        name
        for name in names
        if any(getattr(each, name) != getattr(inputs[0], name) for each in inputs)
    ]
    if not apart:
        return
    wanted = "; ".join(
        f"{member.recipe.name} (style {member.style.name}) "
        + " ".join(f"{name} {_shown(getattr(each, name))}" for name in apart)
        for member, each in zip(opened.classifiers, inputs, strict=True)
    )
    fields = " and ".join(f"bundle.networks.{CLASSIFIER}.input.{n}" for n in apart)
    message = f"classifiers share one input and want others: {wanted}; state {fields}"
    raise RecipeError(message)


def _shown(value: Any) -> str:
    if isinstance(value, Message):
        return " ".join(str(value).split())
    if isinstance(value, str | int):
        return str(value)
    return f"[{', '.join(f'{each:g}' for each in value)}]"


def _check_stated(recipe: Recipe, style: Style) -> None:
    """Check that a recipe says of its detector what nothing else tells."""
    stated: Mapping[str, Any] = recipe.overrides
    path = ("networks", DETECTOR, "detection")
    for key in path:
        stated = stated.get(key, {})
    if missing := [name for name in style.asks if name not in stated]:
        where = ".".join(("bundle", *path))
        message = "is in no file of this kind; state what the network was trained for"
        raise RecipeError(f"{where}: {' and '.join(missing)}: {message}")


def _check_files(bundle: pb.Bundle) -> None:
    files = [bundle.networks[role].file for role in (DETECTOR, CLASSIFIER)]
    if taken := clash(*files):
        message = f"{taken!r} is in the way of networks.{CLASSIFIER}; choose another"
        raise RecipeError(f"bundle.networks.{DETECTOR}.file: {message}")


def bundle_from_recipe(recipe: Recipe, opened: OpenedRecipe) -> pb.Bundle:
    """Return preset, what style and file of each network say, and overrides.

    Nothing in it is measured.

    Raises:
        RecipeError: Preset or override is unknown or contradictory, or classifiers
            want different inputs.
    """
    planned = _preset(recipe)
    if any(member.tensors is None for member in opened.members):
        planned.notice = _UNTRAINED_NOTICE
    _say_members(planned, recipe)
    _lay_defaults(planned.networks[DETECTOR], opened.detector)
    laid = [_laid(planned, member, recipe.overrides) for member in opened.classifiers]
    _check_one_input(opened, laid)
    bundle = laid[0]
    _check_stated(recipe, opened.detector.style)
    classifier, detector = bundle.networks[CLASSIFIER], bundle.networks[DETECTOR]
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
    _check_files(bundle)
    return bundle
