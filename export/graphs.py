"""The two graphs of a bundle, assembled from their members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from spinert.export.architecture import CLASSIFIER, DETECTOR, SplitNetwork
from spinert.export.errors import RecipeError
from spinert.export.loading import Member, loaded_member, untrained_tensors
from spinert.export.members import OpenedMember, OpenedRecipe
from spinert.export.networks.detector import DetectorGraph
from spinert.export.networks.ensemble import ClassifierEnsemble
from spinert.export.networks.grey_input import input_stage
from spinert.export.onnx_from_torch import GraphSpec, onnx_from_torch
from spinert.export.onnx_import.graph import ImportedGraph
from spinert.export.onnx_import.imported import (
    ImportedModel,
    imported_classifier,
    imported_detector,
)
from spinert.export.preprocess import NetworkFrame
from spinert.export.split_graphs import SplitModels, split_graphs
from spinert.export.untrained.calibration import Calibration
from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import Answer

__all__ = [
    "Graph",
    "NetworkGraph",
    "classifier_graph",
    "detector_graph",
    "untrained_checkpoints",
]

_FREE_CANVASES: Final = frozenset({"shortest_edge", "native"})


class NetworkGraph(Protocol):
    """A network of the bundle before it is a file."""

    @property
    def reference(self) -> str:
        """What `answer` comes from, with its version."""

    @property
    def records(self) -> tuple[pb.CheckpointRecord, ...]:
        """The files it was made of."""

    def onnx(self, frames: Sequence[NetworkFrame]) -> Any:
        """Return an `onnx.ModelProto`; frames may serve as examples."""

    def split(self, frames: Sequence[NetworkFrame]) -> SplitModels | None:
        """Return the halves around a suppression inside it; None where is none."""

    def answer(self, frame: NetworkFrame) -> Answer:
        """Return the reference outputs for one frame, without the batch axis."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A network in PyTorch with the outside it will have in ONNX."""

    module: nn.Module
    spec: GraphSpec
    members: tuple[Member, ...]
    cut: SplitNetwork | None = None
    """Where a frame's proposals can be suppressed by the host."""

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

    @property
    def reference(self) -> str:
        """PyTorch and its version."""
        return f"torch {torch.__version__}"

    @property
    def records(self) -> tuple[pb.CheckpointRecord, ...]:
        """The members' checkpoints."""
        return tuple(member.record for member in self.members)

    def onnx(self, frames: Sequence[NetworkFrame]) -> Any:
        """Convert, with the first frame, twice, as the example."""
        example = self.inputs([frames[0], frames[0]])
        return onnx_from_torch(self.module, example, self.spec)

    def split(self, frames: Sequence[NetworkFrame]) -> SplitModels | None:
        """Convert the two halves of a network that suppresses its proposals."""
        if self.cut is None:
            return None
        image, image_size = self.inputs([frames[0], frames[0]])
        halves = split_graphs(
            self.cut, self.module.grey, (image, image_size), self.spec
        )
        proposals, regions = (
            onnx_from_torch(half.module, half.example, half.spec) for half in halves
        )
        return SplitModels(cut=self.cut, proposals=proposals, regions=regions)

    def answer(self, frame: NetworkFrame) -> Answer:
        """Return PyTorch's outputs for one frame."""
        outputs = self.outputs([frame])
        return {name: value[0].numpy() for name, value in outputs.items()}


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


def _imported_graph(
    bundle: pb.Bundle, role: str, made: ImportedModel, members: Sequence[OpenedMember]
) -> ImportedGraph:
    operators = {op for m in members for op in m.architecture.operators(m.options)}
    bundle.networks[role].operators.extend(sorted(operators))
    records = tuple(member.record() for member in members)
    return ImportedGraph(model=made.model, runner=made.runner, records=records)


def _imported_classifiers(
    opened: OpenedRecipe, bundle: pb.Bundle, frames: Sequence[NetworkFrame]
) -> ImportedGraph:
    files = [member.imported for member in opened.classifiers]
    given = [file for file in files if file is not None]
    if len(given) != len(files):
        message = "classifiers are ONNX files all together, or none of them is"
        raise RecipeError(f"{message}: export the others to ONNX first")
    made = imported_classifier(given, bundle.networks[CLASSIFIER].input, frames)
    return _imported_graph(bundle, CLASSIFIER, made, opened.classifiers)


def classifier_graph(
    opened: OpenedRecipe, bundle: pb.Bundle, frames: Sequence[NetworkFrame]
) -> NetworkGraph:
    """Load every classifier and join them to one graph, `image` to `logits`.

    Raises:
        RecipeError: Some members are ONNX files and some are not.
    """
    if any(member.imported for member in opened.classifiers):
        return _imported_classifiers(opened, bundle, frames)
    source = _source(opened, bundle, CLASSIFIER, frames)
    members = tuple(source.member(member) for member in opened.classifiers)
    module = ClassifierEnsemble(source.grey, [member.network for member in members])
    spec = GraphSpec(inputs=("image",), outputs=("logits",), dynamic=({0: "batch"},))
    return Graph(module=module.eval(), spec=spec, members=members)


def detector_graph(
    opened: OpenedRecipe, bundle: pb.Bundle, frames: Sequence[NetworkFrame]
) -> NetworkGraph:
    """Load the detector; its graph gives K candidates of each frame."""
    if opened.detector.imported is not None:
        network, classes = bundle.networks[DETECTOR], len(bundle.classes)
        made = imported_detector(opened.detector.imported, network, classes, frames)
        return _imported_graph(bundle, DETECTOR, made, [opened.detector])
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
    cut = None if architecture.split is None else architecture.split(member.network)
    return Graph(module=module.eval(), spec=spec, members=(member,), cut=cut)


def untrained_checkpoints(
    opened: OpenedRecipe, bundle: pb.Bundle, role: str, frames: Sequence[NetworkFrame]
) -> dict[str, dict[str, Tensor]]:
    """Return, by member of a role, what a checkpoint with untrained weights holds.

    The keys are those of the member's style, the weights those that
    `checkpoint = "untrained:SEED"` stands for.
    """
    source = _source(opened, bundle, role, frames)
    members = opened.classifiers if role == CLASSIFIER else (opened.detector,)
    classes = len(bundle.classes)
    return {
        member.recipe.name: untrained_tensors(
            member, classes, source.calibration(member.recipe.seed or 0)
        )
        for member in members
    }
