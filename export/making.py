"""One network of a bundle: build, convert, compare, in both precisions."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import onnxruntime
import torch

from spinert.export.architecture import CLASSIFIER, DETECTOR, Architecture
from spinert.export.bundle_writer import write_outputs
from spinert.export.cache_fragment import fragment
from spinert.export.deviation import Asked, deviations
from spinert.export.golden import GoldenImage, golden_images
from spinert.export.graphs import NetworkGraph, classifier_graph, detector_graph
from spinert.export.half.form import write_half_form
from spinert.export.members import OpenedRecipe, opened_recipe
from spinert.export.network_files import split_files
from spinert.export.parity import Golden, Measured, measured_parity
from spinert.export.plan import bundle_from_recipe
from spinert.export.preprocess import network_frame
from spinert.export.recipe import Recipe
from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import FP16, FP32, Answer, rule_from_bundle

__all__ = ["ExportPlan", "NetworkMaking", "Report", "export_plan", "torch_threads"]

Report = Callable[[str, float], None]
"""Told what begins, and the fraction (0 to 1) of one network that is done."""

_GRAPHS: Final = {CLASSIFIER: classifier_graph, DETECTOR: detector_graph}


@dataclass(frozen=True, kw_only=True)
class ExportPlan:
    """All that is known before a network is built."""

    recipe: Recipe
    opened: OpenedRecipe
    bundle: pb.Bundle
    """What the recipe asks for, and the frames of the golden set by name."""
    images: Sequence[GoldenImage]


def export_plan(
    recipe: Recipe, architectures: Mapping[str, Architecture]
) -> ExportPlan:
    """Read every file that a recipe names and draw its golden set.

    Raises:
        ExportError: A file or the recipe is wrong; see `opened_recipe` and
            `bundle_from_recipe`.
    """
    opened = opened_recipe(recipe, architectures)
    bundle = bundle_from_recipe(recipe, opened)
    images = golden_images(recipe.golden)
    bundle.golden.batch_sizes.extend(recipe.golden.batch_sizes)
    for image in images:
        bundle.golden.frames.add(
            name=image.name,
            image=f"golden/{image.name}.png",
            photometric_interpretation=image.photometric_interpretation,
            bits_stored=image.bits_stored,
        )
    return ExportPlan(recipe=recipe, opened=opened, bundle=bundle, images=images)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let PyTorch compute with so many threads, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class NetworkMaking:
    """The making of one network, in a folder of its own."""

    def __init__(
        self, plan: ExportPlan, role: str, folder: Path, report: Report
    ) -> None:
        """Prepare its golden frames.

        Args:
            plan: Stays as it is; weights are held until the network is built, and
                those of other roles not at all.
            role: Of the network.
            folder: Where its files go, under their paths in the bundle.
            report: Called at the start of each step.
        """
        others = {CLASSIFIER, DETECTOR} - {role}
        self._plan = replace(plan, opened=plan.opened.without_weights(*others))
        self._role, self._folder = role, folder
        self._report = report
        self._bundle = pb.Bundle()
        self._bundle.CopyFrom(plan.bundle)
        stated = self._bundle.networks[role].input
        self._frames = [
            network_frame(image.grey(self._bundle.grey), stated)
            for image in plan.images
        ]
        self._references: list[Answer] = []

    def make_single(self) -> None:
        """Build the network, convert it and compare it in float32.

        Raises:
            ExportError: It cannot be built or converted, or answers otherwise.
        """
        self._report("weights", 0.0)
        reference = self._convert()
        # PyTorch's programs hold each other, and the weights, in cycles.
        gc.collect()
        self._report("comparing ONNX Runtime with the reference", 0.45)
        rule = rule_from_bundle(self._bundle, self._role, FP32)
        path = self._folder / self._network.file
        measured = measured_parity(path, self._golden, rule)
        self._record_parity(reference, measured)

    def make_half(self) -> None:
        """Add the float16 form, where the recipe asks for one.

        Raises:
            ExportError: It cannot be converted, or its answers are too far off.
        """
        if FP16 not in self._plan.recipe.precisions:
            return
        write_half_form(
            self._folder,
            self._bundle,
            self._role,
            self._golden,
            lambda text, fraction: self._report(text, 0.7 + 0.3 * fraction),
        )

    def made(self) -> pb.Bundle:
        """Return what the network adds to the bundle."""
        return fragment(self._bundle, self._role)

    @property
    def _network(self) -> pb.Network:
        return self._bundle.networks[self._role]

    @property
    def _golden(self) -> Golden:
        return Golden(
            frames=self._frames,
            references=self._references,
            batch_sizes=self._plan.recipe.golden.batch_sizes,
        )

    def _convert(self) -> str:
        """Write the network as ONNX, and its answers; return what gave the answers."""
        opened = self._plan.opened
        graph = _GRAPHS[self._role](opened, self._bundle, self._frames)
        # The network has its own copy of the weights from here.
        self._plan = replace(self._plan, opened=opened.without_weights(self._role))
        del opened
        self._report("converting to ONNX", 0.15)
        self._write(self._network.file, graph.onnx(self._frames))
        self._split(graph)
        self._report("reference outputs", 0.4)
        self._references = [graph.answer(frame) for frame in self._frames]
        self._record_golden()
        if self._role == DETECTOR:
            self._record_deviations(graph)
        self._bundle.provenance.checkpoints.extend(graph.records)
        return graph.reference

    def _split(self, graph: NetworkGraph) -> None:
        """Write the halves of a network that suppresses its own proposals."""
        models = graph.split(self._frames)
        if models is None:
            return
        network = self._network
        files = split_files(network.file)
        network.split.proposals, network.split.regions = files
        network.split.nms_iou = models.cut.nms_iou
        network.split.max_proposals = models.cut.max_proposals
        self._write(network.split.proposals, models.proposals)
        self._write(network.split.regions, models.regions)

    def _write(self, file: str, model: Any) -> None:
        path = self._folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.SerializeToString(deterministic=True))

    def _record_golden(self) -> None:
        recorded = self._bundle.golden.frames
        for golden, frame, outputs in zip(
            recorded, self._frames, self._references, strict=True
        ):
            case = golden.networks[self._role]
            case.input_sha256 = hashlib.sha256(frame.image.tobytes()).hexdigest()
            case.height, case.width = frame.image.shape[1:]
            case.outputs = f"golden/{golden.name}.{self._role}.npz"
            write_outputs(self._folder / case.outputs, outputs)

    def _record_deviations(self, graph: NetworkGraph) -> None:
        plan, given = self._plan, (self._plan.images, self._frames, self._references)
        asked = [
            Asked(shape=image.stored.shape, frame=frame, answer=answer)
            for image, frame, answer in zip(*given, strict=True)
        ]
        found = deviations(graph, plan.opened.detector, asked, self._bundle)
        self._network.deviations.extend(found)

    def _record_parity(self, reference: str, measured: Measured) -> None:
        parity = self._network.parity
        parity.reference = reference
        parity.compared = f"onnxruntime {onnxruntime.__version__} CPUExecutionProvider"
        parity.batch_sizes.extend(self._plan.recipe.golden.batch_sizes)
        measured.record(parity)
