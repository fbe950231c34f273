"""The sides of the GPU benchmark: the backend that serves, and PyTorch twice.

All take the same arrays from host memory and give arrays back to it, so that each
pays for its copies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from spinert.export.architecture import CLASSIFIER, DETECTOR
from spinert.export.architectures import ARCHITECTURES
from spinert.export.golden import golden_images
from spinert.export.graphs import Graph, classifier_graph, detector_graph
from spinert.export.members import opened_recipe
from spinert.export.plan import bundle_from_recipe
from spinert.export.preprocess import network_frame
from spinert.export.recipe import recipe_from_toml
from spinert.proto.agreement import FP16
from spinert.runtime.backends import Arrays, Backend

Batch = Mapping[str, Arrays]
"""Inputs by role."""


class Side(Protocol):
    """Something that runs networks."""

    def run(self, batch: Batch) -> dict[str, Arrays]:
        """Run every network that `batch` has inputs for; return outputs by role."""
        ...


class Served:
    """A backend, called as the engine calls it: one thread for each network."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._pool = ThreadPoolExecutor(2)

    def run(self, batch: Batch) -> dict[str, Arrays]:
        if len(batch) == 1:
            ((role, inputs),) = batch.items()
            return {role: self._backend.run(role, inputs)}
        running = {
            role: self._pool.submit(self._backend.run, role, inputs)
            for role, inputs in batch.items()
        }
        return {role: future.result() for role, future in running.items()}


class PyTorch:
    """The same networks in PyTorch, with weights in half precision.

    Weights of convolutions and matrix products are float16 and lie in memory channels
    last, as tensor cores want them; autocast brings their inputs to them and leaves
    boxes and normalisations in float32. Networks of one batch are launched one after
    the other and waited for together.
    """

    def __init__(
        self, networks: Mapping[str, Graph], device: str, mode: str, precision: str
    ) -> None:
        """Move the networks to `device`.

        Args:
            networks: By role; sides of one device and precision can share them.
            device: As PyTorch calls it.
            mode: Of torch.compile; empty: eager.
            precision: "fp16" or "fp32".
        """
        self._device = torch.device(device)
        self._is_half = precision == FP16
        self._graphs = networks
        self._modules: dict[str, Callable[..., Any]] = {}
        for role, graph in networks.items():
            module: nn.Module = graph.module.to(
                self._device, memory_format=torch.channels_last
            ).eval()
            if self._is_half:
                halve_weights(module)
            compiled = (
                torch.compile(module, mode=mode, dynamic=False) if mode else module
            )
            self._modules[role] = compiled

    @torch.inference_mode()
    def run(self, batch: Batch) -> dict[str, Arrays]:
        launched = {}
        for role, inputs in batch.items():
            graph = self._graphs[role]
            tensors = [self._sent(inputs[name]) for name in graph.spec.inputs]
            with self._arithmetic():
                values = self._modules[role](*tensors)
            launched[role] = values if isinstance(values, tuple) else (values,)
        return {
            role: {
                name: value.cpu().numpy()
                for name, value in zip(
                    self._graphs[role].spec.outputs, values, strict=True
                )
            }
            for role, values in launched.items()
        }

    def _sent(self, array: Any) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)

    def _arithmetic(self) -> AbstractContextManager[object]:
        if self._is_half:
            return torch.autocast(self._device.type, dtype=torch.float16)
        return nullcontext()


def halve_weights(module: nn.Module) -> None:
    """Store the weights that autocast would round for every batch in float16."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.half()


def networks_from_recipe(
    path: Path, architectures: Mapping[str, Any] = ARCHITECTURES
) -> dict[str, Graph]:
    """Build the networks of a recipe in PyTorch, with the weights of its bundle."""
    recipe = recipe_from_toml(path)
    opened = opened_recipe(recipe, architectures)
    bundle = bundle_from_recipe(recipe, opened)
    images = golden_images(recipe.golden)
    made = {}
    for role, build in ((CLASSIFIER, classifier_graph), (DETECTOR, detector_graph)):
        stated = bundle.networks[role].input
        frames = [network_frame(image.grey(bundle.grey), stated) for image in images]
        graph = build(opened, bundle, frames)
        if not isinstance(graph, Graph):
            raise TypeError(f"{role} is an ONNX file: there is no PyTorch to compare")
        made[role] = graph
    return made


def worst_difference(
    expected: Sequence[Mapping[str, Any]], found: Arrays
) -> dict[str, float]:
    """Return the largest difference per output, of candidates by rank of score."""
    worst: dict[str, float] = {}
    for slot, reference in enumerate(expected):
        for name in ("logits", "scores"):
            if name not in found:
                continue
            mine, other = found[name][slot], reference[name]
            if name == "scores":
                mine, other = sorted(mine)[::-1], sorted(other)[::-1]
            gaps = [abs(float(a) - float(b)) for a, b in zip(mine, other, strict=True)]
            worst[name] = max(worst.get(name, 0.0), *gaps)
    return worst
