"""A training from its data to its weights: resumed, logged, stopped in time."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch

from spinert.export.architecture import Architecture
from spinert.export.checkpoints.mapping import load_strictly, own_tensors
from spinert.export.checkpoints.reader import read_tensors
from spinert.export.errors import TrainingError
from spinert.export.reference.checkpointing import read_checkpoint, write_checkpoint
from spinert.export.reference.frames import Frames, frames_from_folder
from spinert.export.reference.inputs import architecture_of, built, style_of
from spinert.export.reference.orders import Order, Outcome
from spinert.export.reference.rendering import stated_split
from spinert.export.reference.settings import TrainingSettings
from spinert.export.reference.stopping import Stop
from spinert.export.reference.storing import store_weights
from spinert.export.reference.tasks import task_of
from spinert.export.reference.training import Networks, Training

__all__ = ["train"]

_EVALUATION_BATCH: Final = 32
_SHOWN_EVERY_S: Final = 10.0


class _Log:
    """Lines for people, and the same as JSON for machines."""

    def __init__(self, path: Path, show: Callable[[str], None]) -> None:
        self._path = path
        self._show = show

    def write(self, step: int, seconds: float, **facts: Any) -> None:
        line = json.dumps({"step": step, "seconds": round(seconds, 1), **facts})
        with self._path.open("a") as stream:
            stream.write(line + "\n")
        self._show(line)


def _stated_splits(settings: TrainingSettings) -> dict[str, dict[str, Any]]:
    """Return what has to be rendered, by split."""
    data = settings.data
    return {name: stated_split(data.images, own) for name, own in data.splits.items()}


def _fingerprint(order: Order) -> str:
    """Identify what a checkpoint belongs to: settings of the network and its data."""
    split = _stated_splits(order.settings)["train"]
    stated = f"{order.network!r} {sorted(split.items())!r}"
    return hashlib.sha256(stated.encode()).hexdigest()


def _splits(order: Order, architecture: Architecture) -> dict[str, Frames]:
    """Map all splits; on a GPU they are copied to its memory whole."""
    return {
        name: frames_from_folder(order.data / name, architecture.role, stated).on(
            order.device
        )
        for name, stated in _stated_splits(order.settings).items()
    }


def _begun(order: Order, architecture: Architecture) -> Training:
    """Return a training at its first step, or where its checkpoint is."""
    settings, device = order.network, order.device
    networks = Networks(
        trained=built(settings, architecture), average=built(settings, architecture)
    )
    task = task_of(settings, architecture)
    training = Training(settings, task, networks, device, compiled=order.compiled)
    checkpoint = order.output / f"{order.name}.checkpoint"
    state = read_checkpoint(checkpoint, _fingerprint(order))
    if state is not None:
        training.restore(state)
    elif order.initial is not None:
        tensors = read_tensors(order.initial)
        style = style_of(settings, architecture)
        own = own_tensors(tensors, training.network, style, order.initial.name)
        load_strictly(training.network, own, style, order.initial.name)
        training.begin_with(own)
    return training


class _Run:
    """The loop around a training."""

    def __init__(
        self, order: Order, architecture: Architecture, log: _Log, started: float
    ) -> None:
        self.order = order
        self.architecture = architecture
        self.log = log
        self.started = self.saved = self.shown = started
        self.splits = _splits(order, architecture)
        self.training = _begun(order, architecture)
        steps = order.network.steps
        self.last = min(order.pace.steps or steps, steps)
        self.measured: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def save(self) -> None:
        self.saved = time.monotonic()
        state = {**self.training.state(), "fingerprint": _fingerprint(self.order)}
        write_checkpoint(self.order.output / f"{self.order.name}.checkpoint", state)

    def show(self, losses: Mapping[str, torch.Tensor]) -> None:
        """Write losses, and refuse to go on once they are no numbers."""
        self.shown = time.monotonic()
        values = {name: float(value) for name, value in losses.items()}
        step = self.training.step
        if not math.isfinite(values["loss"]):
            message = f"the loss is {values['loss']}; lower learning_rate"
            raise TrainingError(f"{self.order.name}: step {step}: {message}")
        rounded = {name: float(f"{value:.5g}") for name, value in values.items()}
        self.log.write(step, self.seconds, **rounded)

    def measure(self, split: str, edge_px: int) -> dict[str, float]:
        frames = self.splits[split]
        found = self.training.metrics(frames, edge_px, _EVALUATION_BATCH)
        rounded = {name: round(value, 4) for name, value in found.items()}
        self.log.write(self.training.step, self.seconds, split=split, **rounded)
        return rounded

    def is_over(self, stop: Stop) -> bool:
        late = self.seconds > self.order.pace.minutes * 60
        return stop.asked or late or self.training.step >= self.last

    def loop(self, stop: Stop) -> None:
        pace, training = self.order.pace, self.training
        while not self.is_over(stop):
            losses = training.advance(self.splits["train"])
            now = time.monotonic()
            if now - self.shown > _SHOWN_EVERY_S or training.step == self.last:
                self.show(losses)
            if training.step % pace.validate_every == 0 and "validation" in self.splits:
                self.measured = self.measure("validation", training.edge_px)
            if now - self.saved > pace.save_every_minutes * 60:
                self.save()
        self.save()

    def finish(self) -> Outcome:
        """Measure a complete training, and store the average's weights."""
        order, training = self.order, self.training
        steps = order.network.steps
        metrics: dict[str, Mapping[str, float]] = {}
        if training.step >= steps:
            edge = self.splits["train"].edge_px
            names = [name for name in self.splits if name != "train"]
            metrics = {name: self.measure(name, edge) for name in names}
        weights = order.output / f"{order.name}.safetensors"
        facts = {
            "architecture": order.network.architecture,
            "style": order.network.style,
            "seed": str(order.network.seed),
            "steps": f"{training.step} of {steps}",
            "recipe_sha256": order.settings.sha256,
            "data": json.dumps(_stated_splits(order.settings)),
            "metrics": json.dumps(metrics or {"validation": self.measured}),
        }
        style = style_of(order.network, self.architecture)
        store_weights(weights, training.average.network, style, facts)
        return Outcome(
            step=training.step, steps=steps, metrics=metrics, weights=weights
        )


def train(
    order: Order,
    stop: Stop,
    show: Callable[[str], None],
    architecture: Architecture | None = None,
) -> Outcome:
    """Train a network, or go on where it was stopped.

    The output folder gets `NAME.checkpoint`, `NAME.log.jsonl` and
    `NAME.safetensors`, the averaged weights in half precision.

    Args:
        order: What to train and how long.
        stop: Asked after every step.
        show: Takes the lines of the log.
        architecture: Of the network; None: the table's entry.

    Raises:
        RecipeError: The settings contradict each other.
        TrainingError: Data are missing, the checkpoint does not fit, or the loss is
            not finite.
    """
    started = time.monotonic()
    architecture = architecture or architecture_of(order.network)
    order.output.mkdir(parents=True, exist_ok=True)
    log = _Log(order.output / f"{order.name}.log.jsonl", show)
    run = _Run(order, architecture, log, started)
    run.loop(stop)
    return run.finish()
