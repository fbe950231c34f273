"""ONNX files as the networks of a bundle: checked, wrapped, run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from onnx import TensorProto

from spinert.export.errors import RecipeError
from spinert.export.onnx_import.head_nodes import (
    Answer,
    Candidates,
    candidate_values,
    kept,
    logit_value,
)
from spinert.export.onnx_import.joined import JoinedGraph, at_one_opset
from spinert.export.onnx_import.mapping import (
    ClassifierMapping,
    DetectorMapping,
    classifier_mapping,
    detector_mapping,
)
from spinert.export.onnx_import.ports import (
    ImagePort,
    SizePort,
    check_canvas,
    image_port,
    size_port,
)
from spinert.export.onnx_import.reading import ReadModel
from spinert.export.onnx_import.running import Runner, check_answer, check_batch
from spinert.export.preprocess import NetworkFrame
from spinert.proto import bundle_pb2 as pb

__all__ = [
    "ImportedFile",
    "ImportedModel",
    "imported_classifier",
    "imported_detector",
]

_LOGITS: Final = frozenset(("logits",))
_CANDIDATES: Final = frozenset(("boxes", "scores", "labels"))


@dataclass(frozen=True, kw_only=True)
class ImportedFile:
    """A file that was read, and what the recipe declares of it."""

    read: ReadModel
    mapping: Mapping[str, Any]
    """The recipe's `[x.mapping]`; empty: the file keeps the contract itself."""
    where: str
    """The recipe's table, for messages."""

    @property
    def outputs(self) -> list[str]:
        """Names of the file's outputs."""
        return [value.name for value in self.read.model.graph.output]

    def classifier(self) -> ClassifierMapping:
        """Return the declared mapping, or that of a file that keeps the contract.

        Raises:
            RecipeError: There is neither.
        """
        if self.mapping:
            return classifier_mapping(self.mapping, f"{self.where}.mapping")
        self._require(_LOGITS)
        return ClassifierMapping(output="logits", input="image")

    def detector(self) -> DetectorMapping:
        """Return the declared mapping, or that of a file that keeps the contract.

        Raises:
            RecipeError: There is neither.
        """
        if self.mapping:
            return detector_mapping(self.mapping, f"{self.where}.mapping")
        self._require(_CANDIDATES)
        inputs = {value.name for value in self.read.model.graph.input}
        return DetectorMapping(
            head="separate",
            boxes="boxes",
            scores="scores",
            labels="labels",
            input="image",
            image_size="image_size" if "image_size" in inputs else "",
        )

    def detector_ports(self) -> tuple[ImagePort, SizePort | None]:
        """Return the inputs of a detector.

        Raises:
            GraphError: The file takes something that cannot be made of an image.
            RecipeError: The mapping names no input of the file.
        """
        mapping = self.detector()
        name = mapping.image_size
        image = image_port(
            self.read, mapping.input, layout=mapping.layout, size_name=name
        )
        if not name:
            return image, None
        is_width_first = mapping.image_size_order == "width_height"
        return image, size_port(self.read, name, is_width_first=is_width_first)

    def _require(self, outputs: frozenset[str]) -> None:
        if set(self.outputs) != outputs:
            message = (
                f"{self.read.name}: answers {', '.join(self.outputs)}, not "
                f"{', '.join(sorted(outputs))}; declare them in [{self.where}.mapping]"
            )
            raise RecipeError(message)


@dataclass(frozen=True, kw_only=True)
class ImportedModel:
    """A graph that keeps the contract and was seen to run."""

    model: Any
    """`onnx.ModelProto`."""
    runner: Runner


def _distinct(frames: Sequence[NetworkFrame]) -> list[NetworkFrame]:
    """Return one frame of each size."""
    return list({frame.image.shape: frame for frame in frames}.values())


def _answers(
    file: ImportedFile,
    ports: tuple[ImagePort, SizePort | None],
    stated: pb.NetworkInput,
    frames: Sequence[NetworkFrame],
) -> list[Mapping[str, tuple[int, ...]]]:
    """Run the file behind the bundle's inputs; return the shapes it answers."""
    joined = JoinedGraph(stated)
    names = joined.append(file.read, *ports)
    declared = {value.name: value for value in file.read.model.graph.output}
    outputs = []
    for own, name in names.items():
        tensor = declared[own].type.tensor_type
        axes = tuple(f"axis_{i}" for i in range(len(tensor.shape.dim)))
        outputs.append((name, tensor.elem_type, axes))
    runner = Runner(joined.model(outputs), file.read.name)
    found: list[Mapping[str, tuple[int, ...]]] = []
    for frame in _distinct(frames):
        values = runner.outputs([frame])
        found.append({own: values[name].shape for own, name in names.items()})
    return found


def _checked(
    model: Any, name: str, frames: Sequence[NetworkFrame], classes: int
) -> ImportedModel:
    runner = Runner(model, name)
    for frame in frames:
        check_answer(runner.outputs([frame]), model, name, classes)
    check_batch(runner, frames[0])
    return ImportedModel(model=model, runner=runner)


def imported_classifier(
    files: Sequence[ImportedFile],
    stated: pb.NetworkInput,
    frames: Sequence[NetworkFrame],
) -> ImportedModel:
    """Join files to one classifier graph, `image` to `logits` (N,M).

    Args:
        files: One for each member.
        stated: The input of the bundle's network.
        frames: The golden frames as it receives them.

    Raises:
        GraphError: A file breaks the contract or does not run.
        RecipeError: A mapping does not fit its file.
    """
    joined = JoinedGraph(stated)
    logits = []
    reads = at_one_opset([file.read for file in files])
    for file, read in zip(files, reads, strict=True):
        mapping = file.classifier()
        image = image_port(file.read, mapping.input, layout=mapping.layout)
        check_canvas(file.read, image, stated.canvas)
        shapes = _answers(file, (image, None), stated, frames)[0]
        names = joined.append(read, image, None)
        answer = Answer(file=read.name, names=names, shapes=shapes)
        logits.append(logit_value(joined.nodes, mapping, answer))
    joined.nodes.name(joined.nodes.add("Concat", *logits, axis=1), "logits")
    model = joined.model([("logits", TensorProto.FLOAT, ("batch", len(files)))])
    return _checked(model, ", ".join(read.name for read in reads), frames, 0)


def _check_count(found: Candidates, keep: int, name: str) -> None:
    if found.count < keep:
        message = f"{name}: gives only {found.count} candidates for a golden frame"
        advice = "bundle.networks.detector.detection.candidates"
        raise RecipeError(f"{message}; set {advice} = {found.count} or less")


def imported_detector(
    file: ImportedFile,
    network: pb.Network,
    classes: int,
    frames: Sequence[NetworkFrame],
) -> ImportedModel:
    """Wrap a file to a detector graph that gives K candidates.

    Args:
        file: What to wrap.
        network: Of the bundle: states the input and K.
        classes: Of the bundle.
        frames: The golden frames as it receives them.

    Returns:
        From `image`, `image_size` to `boxes`, `scores`, `labels`.

    Raises:
        GraphError: The file breaks the contract or does not run.
        RecipeError: The mapping does not fit the file.
    """
    mapping, name = file.detector(), file.read.name
    ports = file.detector_ports()
    check_canvas(file.read, ports[0], network.input.canvas)
    keep = network.detection.candidates
    counts = []
    # The last frame's graph is the result; all differ in nothing but what was seen.
    for shapes in _answers(file, ports, network.input, frames):
        joined = JoinedGraph(network.input)
        names = joined.append(file.read, *ports)
        answer = Answer(file=name, names=names, shapes=shapes)
        found = candidate_values(joined.nodes, mapping, answer, classes)
        _check_count(found, keep, name)
        counts.append(found.count)
    if counts != [keep] * len(counts):
        found = kept(joined.nodes, found, keep)
    for output in ("boxes", "scores", "labels"):
        joined.nodes.name(getattr(found, output), output)
    model = joined.model(
        [
            ("boxes", TensorProto.FLOAT, ("batch", keep, 4)),
            ("scores", TensorProto.FLOAT, ("batch", keep)),
            ("labels", TensorProto.INT64, ("batch", keep)),
        ]
    )
    return _checked(model, name, frames, classes)
