"""The two graphs of a bundle, assembled from their members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from spinert.export.architecture import CLASSIFIER, DETECTOR
from spinert.export.errors import RecipeError
from spinert.export.members import (
    Member,
    OpenedMember,
    OpenedRecipe,
    loaded_member,
)
from spinert.export.networks.detector import DetectorGraph
from spinert.export.networks.ensemble import ClassifierEnsemble
from spinert.export.networks.grey_input import input_stage
from spinert.export.onnx_from_torch import GraphSpec
from spinert.export.preprocess import NetworkFrame
from spinert.export.untrained.calibration import Calibration
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

    opened: OpenedRecipe
    bundle: pb.Bundle
    role: str
    frames: Sequence[NetworkFrame]
    grey: nn.Module

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

    def member(self, opened: OpenedMember) -> Member:
        """Load one member and record its hidden settings."""
        loaded = loaded_member(
            opened, classes=len(self.bundle.classes), calibration=self.calibration
        )
        options = self.bundle.networks[self.role].import_options
        for key, value in loaded.options.items():
            options[f"{opened.recipe.name}.{key}"] = str(value).lower()
        return loaded


def _source(
    opened: OpenedRecipe, bundle: pb.Bundle, role: str, frames: Sequence[NetworkFrame]
) -> _Source:
    stated = bundle.networks[role].input
    grey = input_stage(stated)
    return _Source(opened=opened, bundle=bundle, role=role, frames=frames, grey=grey)


def classifier_graph(
    opened: OpenedRecipe, bundle: pb.Bundle, frames: Sequence[NetworkFrame]
) -> Graph:
    """Load every classifier and join them to one graph, `image` to `logits`."""
    source = _source(opened, bundle, CLASSIFIER, frames)
    members = tuple(source.member(member) for member in opened.classifiers)
    module = ClassifierEnsemble(source.grey, [member.network for member in members])
    spec = GraphSpec(inputs=("image",), outputs=("logits",), dynamic=({0: "batch"},))
    return Graph(module=module.eval(), spec=spec, members=members)


def detector_graph(
    opened: OpenedRecipe, bundle: pb.Bundle, frames: Sequence[NetworkFrame]
) -> Graph:
    """Load the detector; its graph gives K candidates of each frame."""
    source = _source(opened, bundle, DETECTOR, frames)
    member = source.member(opened.detector)
    network = bundle.networks[DETECTOR]
    architecture = opened.detector.architecture
    count = network.detection.candidates
    available = architecture.available(member.options, len(bundle.classes))
    module = DetectorGraph(
        source.grey, member.network, count if count < available else None
    )
    axes = {0: "batch"}
    if network.input.canvas.WhichOneof("kind") in _FREE_CANVASES:
        axes |= {2: "height", 3: "width"}
    operators = architecture.operators(member.options)
    network.operators.extend(operators)
    outputs: tuple[str, ...] = ("boxes", "scores", "labels")
    if architecture.has_status(member.options):
        outputs += ("status",)
    spec = GraphSpec(
        inputs=("image", "image_size"),
        outputs=outputs,
        dynamic=(axes, {0: "batch"}),
        operators=operators,
    )
    return Graph(module=module.eval(), spec=spec, members=(member,))
