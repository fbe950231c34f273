"""From a recipe to a bundle: build, convert, compare, write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnxruntime

from spinert import __version__
from spinert.export.architecture import CLASSIFIER, DETECTOR, Architecture
from spinert.export.architectures import ARCHITECTURES
from spinert.export.bundle_writer import (
    creation_time,
    package_versions,
    staged,
    write_golden_image,
    write_index,
    write_outputs,
)
from spinert.export.cache import ExportCache
from spinert.export.cache_fragment import add_fragment, fragment
from spinert.export.cache_key import key_from_export
from spinert.export.golden import GoldenImage, golden_images
from spinert.export.graphs import NetworkGraph, classifier_graph, detector_graph
from spinert.export.half.form import write_half_form
from spinert.export.loading import check_files
from spinert.export.members import OpenedRecipe, opened_recipe
from spinert.export.parity import Golden, Measured, measured_parity
from spinert.export.plan import bundle_from_recipe
from spinert.export.preprocess import NetworkFrame, network_frame
from spinert.export.recipe import Recipe, recipe_from_toml
from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import FP16, FP32, Answer, rule_from_bundle

__all__ = ["Progress", "export_bundle"]

Progress = Callable[[str, float], None]
"""Told what begins, and the fraction (0 to 1) that is done."""

_GRAPHS: Final = {CLASSIFIER: classifier_graph, DETECTOR: detector_graph}
_SHARES: Final = {CLASSIFIER: (0.0, 0.3), DETECTOR: (0.3, 0.97)}


@dataclass(frozen=True, kw_only=True)
class _Export:
    """One export in progress."""

    recipe: Recipe
    opened: OpenedRecipe
    bundle: pb.Bundle
    images: Sequence[GoldenImage]
    folder: Path
    progress: Progress
    cache: ExportCache | None

    def frames(self, role: str) -> list[NetworkFrame]:
        stated = self.bundle.networks[role].input
        grey = [image.grey(self.bundle.grey) for image in self.images]
        return [network_frame(image, stated) for image in grey]

    def network(self, role: str) -> None:
        """Take one network from the cache, or make it and keep it there."""
        if self.cache is None:
            self._make(role)
            return
        key = key_from_export(self.recipe, self.opened, self.bundle, role)
        kept = self.cache.lookup(key, self.folder)
        if kept is not None:
            self.progress(f"{role}: kept from an earlier export", _SHARES[role][1])
            add_fragment(self.bundle, kept)
            return
        before = _files(self.folder)
        self._make(role)
        made = sorted(_files(self.folder) - before)
        self.cache.store(key, fragment(self.bundle, role), self.folder, made)

    def _make(self, role: str) -> None:
        """Build, convert and compare one network; record it in the bundle."""
        start, end = _SHARES[role]

        def report(text: str, fraction: float) -> None:
            self.progress(f"{role}: {text}", start + (end - start) * fraction)

        report("weights", 0.0)
        frames = self.frames(role)
        build = _GRAPHS[role]
        graph = build(self.opened, self.bundle, frames)
        report("converting to ONNX", 0.15)
        path = self._convert(role, graph, frames)
        self._split(role, graph, frames)
        report("reference outputs", 0.4)
        references = [graph.answer(frame) for frame in frames]
        self._record_golden(role, frames, references)
        report("comparing ONNX Runtime with the reference", 0.45)
        sizes = self.recipe.golden.batch_sizes
        golden = Golden(frames=frames, references=references, batch_sizes=sizes)
        rule = rule_from_bundle(self.bundle, role, FP32)
        measured = measured_parity(path, golden, rule)
        self._record_parity(role, graph.reference, measured)
        if FP16 in self.recipe.precisions:
            write_half_form(
                self.folder,
                self.bundle,
                role,
                golden,
                lambda text, fraction: report(text, 0.7 + 0.3 * fraction),
            )
        self.bundle.provenance.checkpoints.extend(graph.records)

    def _convert(
        self, role: str, graph: NetworkGraph, frames: list[NetworkFrame]
    ) -> Path:
        return self._write(self.bundle.networks[role].file, graph.onnx(frames))

    def _split(
        self, role: str, graph: NetworkGraph, frames: list[NetworkFrame]
    ) -> None:
        """Write the halves of a network that suppresses its own proposals."""
        models = graph.split(frames)
        if models is None:
            return
        network = self.bundle.networks[role]
        stem = network.file.removesuffix(".onnx")
        network.split.proposals = f"{stem}.proposals.onnx"
        network.split.regions = f"{stem}.regions.onnx"
        network.split.nms_iou = models.cut.nms_iou
        network.split.max_proposals = models.cut.max_proposals
        self._write(network.split.proposals, models.proposals)
        self._write(network.split.regions, models.regions)

    def _write(self, file: str, model: Any) -> Path:
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.SerializeToString(deterministic=True))
        return path

    def _record_golden(
        self, role: str, frames: list[NetworkFrame], references: list[Answer]
    ) -> None:
        recorded = self.bundle.golden.frames
        for golden, frame, outputs in zip(recorded, frames, references, strict=True):
            case = golden.networks[role]
            case.input_sha256 = hashlib.sha256(frame.image.tobytes()).hexdigest()
            case.height, case.width = frame.image.shape[1:]
            case.outputs = f"golden/{golden.name}.{role}.npz"
            write_outputs(self.folder / case.outputs, outputs)

    def _record_parity(self, role: str, reference: str, measured: Measured) -> None:
        parity = self.bundle.networks[role].parity
        parity.reference = reference
        parity.compared = f"onnxruntime {onnxruntime.__version__} CPUExecutionProvider"
        parity.batch_sizes.extend(self.recipe.golden.batch_sizes)
        measured.record(parity)

    def golden(self) -> None:
        """Write the frames of the golden set and list them."""
        self.bundle.golden.batch_sizes.extend(self.recipe.golden.batch_sizes)
        for image in self.images:
            path = f"golden/{image.name}.png"
            write_golden_image(self.folder / path, image.stored)
            self.bundle.golden.frames.add(
                name=image.name,
                image=path,
                photometric_interpretation=image.photometric_interpretation,
                bits_stored=image.bits_stored,
            )

    def provenance(self) -> None:
        """Record who made this bundle from what."""
        provenance = self.bundle.provenance
        provenance.created_at = creation_time()
        provenance.exporter_version = __version__
        provenance.preset = self.recipe.preset
        provenance.recipe_sha256 = self.recipe.sha256
        provenance.packages.update(package_versions())


def _files(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in paths}


def export_bundle(
    recipe_path: Path,
    directory: Path,
    progress: Progress,
    *,
    replace: bool = False,
    architectures: Mapping[str, Architecture] = ARCHITECTURES,
    cache: ExportCache | None = None,
) -> pb.Bundle:
    """Write the bundle that a recipe describes.

    Either `directory` holds a complete bundle afterwards, whose graphs ONNX Runtime
    computes as PyTorch does, or nothing has changed there.

    Args:
        recipe_path: TOML, see `spinert.export.recipe`.
        directory: Must not exist, be empty, or hold a bundle to `replace`.
        progress: Called at the start of each step.
        replace: Take the place of the bundle in `directory`.
        architectures: Networks that a recipe can name.
        cache: Holds networks of earlier exports and takes those of this one. It tells
            architectures apart by their names.

    Returns:
        What bundle.json says.

    Raises:
        ExportError: Any of its kinds; the message says what to do.
    """
    progress("reading the recipe", 0.0)
    recipe = recipe_from_toml(recipe_path)
    progress("reading the checkpoints", 0.0)
    opened = opened_recipe(recipe, architectures)
    bundle = bundle_from_recipe(recipe, opened)
    check_files(opened, len(bundle.classes))
    with staged(directory, replace=replace) as folder:
        work = _Export(
            recipe=recipe,
            opened=opened,
            bundle=bundle,
            images=golden_images(recipe.golden),
            folder=folder,
            progress=progress,
            cache=cache,
        )
        work.golden()
        work.network(CLASSIFIER)
        work.network(DETECTOR)
        work.provenance()
        progress("writing bundle.json", 0.97)
        write_index(bundle, folder)
    progress("done", 1.0)
    return bundle
