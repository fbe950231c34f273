"""The two graphs of a bundle, assembled from their members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from spinert.export.architectures import CLASSIFIER, DETECTOR, Architecture
from spinert.export.errors import RecipeError
from spinert.export.members import Member, architecture_of, loaded_member
from spinert.export.networks.detector import DetectorGraph
from spinert.export.networks.ensemble import ClassifierEnsemble
from spinert.export.networks.grey_input import GreyInput
from spinert.export.onnx_from_torch import GraphSpec
from spinert.export.preprocess import NetworkFrame
from spinert.export.recipe import MemberRecipe, Recipe
from spinert.export.untrained import Calibration
from spinert.proto import bundle_pb2 as pb

__all__ = ["Graph", "classifier_graph", "detector_graph"]

_FREE_CANVASES: Final = frozenset({"shortest_edge", "native"})


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A network in PyTorch with the outside it will have in ONNX."""

    module: nn.Module
    spec: GraphSpec
    members: tuple[Member, ...]

    def inputs(self, frames: Sequence[NetworkFrame]) -> tuple[Tensor, ...]:
        """Return the tensors for frames of equal size."""
        image = torch.from_numpy(np.stack([frame.image for frame in frames]))
        size = torch.from_numpy(np.stack([frame.size for frame in frames]))
        return (image, size)[: len(self.spec.inputs)]

    @torch.no_grad()
    def outputs(self, frames: Sequence[NetworkFrame]) -> dict[str, Tensor]:
        """Return PyTorch's answer for frames of equal size."""
        values = self.module(*self.inputs(frames))
        values = values if isinstance(values, tuple) else (values,)
        return dict(zip(self.spec.outputs, values, strict=True))


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What members of one role are built from."""

    recipe: Recipe
    bundle: pb.Bundle
    role: str
    frames: Sequence[NetworkFrame]
    grey: GreyInput

    def calibration(self, seed: int) -> Calibration:
        """Take the largest group of golden frames that share a size."""
        groups: dict[tuple[int, ...], list[NetworkFrame]] = {}
        for frame in self.frames:
            groups.setdefault(frame.image.shape, []).append(frame)
        group = max(groups.values(), key=len)
        if len(group) < 2:
            message = "untrained weights need two golden frames of one network size"
            raise RecipeError(f"golden: {message}; repeat one of the sizes")
        image = torch.from_numpy(np.stack([frame.image for frame in group]))
        sizes = torch.from_numpy(np.stack([frame.size for frame in group]))
        return Calibration(
            seed=seed,
            images=self.grey(image, sizes),
            sizes=sizes,
            threshold=self.bundle.decision.threshold,
        )

    def member(
        self, member: MemberRecipe, architectures: Mapping[str, Architecture]
    ) -> Member:
        """Load one member and record its role and hidden settings."""
        loaded = loaded_member(
            self.recipe,
            member,
            architecture_of(member, self.role, architectures),
            classes=len(self.bundle.classes),
            calibration=self.calibration,
        )
        loaded.record.role = self.role
        options = self.bundle.networks[self.role].import_options
        for key, value in loaded.options.items():
            options[f"{member.name}.{key}"] = str(value).lower()
        return loaded


def _source(
    recipe: Recipe, bundle: pb.Bundle, role: str, frames: Sequence[NetworkFrame]
) -> _Source:
    stated = bundle.networks[role].input
    grey = GreyInput(mean=stated.mean, std=stated.std, fill=stated.fill)
    return _Source(recipe=recipe, bundle=bundle, role=role, frames=frames, grey=grey)


def classifier_graph(
    recipe: Recipe,
    bundle: pb.Bundle,
    frames: Sequence[NetworkFrame],
    architectures: Mapping[str, Architecture],
) -> Graph:
    """Load every classifier and join them to one graph, `image` to `logits`."""
    source = _source(recipe, bundle, CLASSIFIER, frames)
    members = tuple(source.member(m, architectures) for m in recipe.classifiers)
    module = ClassifierEnsemble(source.grey, [member.network for member in members])
    spec = GraphSpec(inputs=("image",), outputs=("logits",), dynamic=({0: "batch"},))
    return Graph(module=module.eval(), spec=spec, members=members)


def detector_graph(
    recipe: Recipe,
    bundle: pb.Bundle,
    frames: Sequence[NetworkFrame],
    architectures: Mapping[str, Architecture],
) -> Graph:
    """Load the detector; its graph gives the K best candidates of each frame.

    Raises:
        RecipeError: The network has fewer than K class scores.
    """
    source = _source(recipe, bundle, DETECTOR, frames)
    member = source.member(recipe.detector, architectures)
    network = bundle.networks[DETECTOR]
    candidates = network.detection.candidates
    available = int(member.options.get("proposals", candidates)) * len(bundle.classes)
    if candidates > available:
        message = f"the detector has only {available} class scores"
        raise RecipeError(f"bundle.networks.detector.detection.candidates: {message}")
    axes = {0: "batch"}
    if network.input.canvas.WhichOneof("kind") in _FREE_CANVASES:
        axes |= {2: "height", 3: "width"}
    spec = GraphSpec(
        inputs=("image", "image_size"),
        outputs=("boxes", "scores", "labels"),
        dynamic=(axes, {0: "batch"}),
    )
    module = DetectorGraph(source.grey, member.network, candidates)
    return Graph(module=module.eval(), spec=spec, members=(member,))
