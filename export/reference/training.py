"""The training of one network, step by step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from spinert.export.errors import TrainingError
from spinert.export.reference.augmentation import augmented, frames_of_step, resized
from spinert.export.reference.depthwise import use_fast_gradients
from spinert.export.reference.frames import Frames
from spinert.export.reference.settings import NetworkSettings, Optimisation, Stage
from spinert.export.reference.tasks import Task
from spinert.export.reference.weights import MovingAverage, seed_weights

__all__ = ["Networks", "Place", "Training", "place_of", "share_of_rate"]


class Place(NamedTuple):
    """Where in the schedule a step is."""

    stage: Stage
    first: int
    """Frames that earlier steps have seen."""


def place_of(stages: Sequence[Stage], step: int) -> Place:
    """Return the stage of a step counted from 0; past the end, the last."""
    first = 0
    for stage in stages[:-1]:
        if step < stage.steps:
            return Place(stage, first + step * stage.batch)
        step -= stage.steps
        first += stage.steps * stage.batch
    return Place(stages[-1], first + step * stages[-1].batch)


def share_of_rate(step: int, steps: int, warmup_steps: int) -> float:
    """Return what part of the learning rate applies: up a line, down a cosine.

    Args:
        step: Counted from 0.
        steps: Of the whole training.
        warmup_steps: At its beginning.
    """
    rising = min(1.0, (step + 1) / max(1, warmup_steps))
    return rising * (1 + math.cos(math.pi * min(1.0, step / steps))) / 2


def _pool(frames: Frames, stage: Stage) -> Tensor:
    """Return which frames a stage draws from, int64 (n,)."""
    if not stage.abnormal_only:
        return torch.arange(frames.count)
    pool = frames.abnormal.cpu().nonzero()[:, 0]
    if not len(pool):
        message = "abnormal_only: no frame has a lesion; render others"
        raise TrainingError(message)
    return pool


def _optimiser(
    parameters: Sequence[nn.Parameter], settings: Optimisation
) -> torch.optim.AdamW:
    groups = [
        {
            "params": [p for p in parameters if p.ndim > 1],
            "weight_decay": settings.weight_decay,
        },
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, foreach=True)


@dataclass(frozen=True, kw_only=True)
class Networks:
    """One network twice: in training, and the place for its average."""

    trained: nn.Module
    average: nn.Module


class Training:
    """Weights, optimiser and the number of steps done."""

    def __init__(
        self,
        settings: NetworkSettings,
        task: Task,
        networks: Networks,
        device: torch.device,
        *,
        compiled: bool = False,
    ) -> None:
        """Begin with seeded weights.

        Args:
            settings: The recipe's.
            task: What is learnt.
            networks: Two of the same structure; both are moved to the device.
            device: Computes in bfloat16 where that is enough and its processors can.
            compiled: Compile the network first, which takes minutes and pays on GPUs.
        """
        self.settings = settings
        self.step = 0
        self._task = task
        self._device = device
        seed_weights(networks.trained, settings.seed)
        layout = torch.channels_last
        self.network = networks.trained.to(device, memory_format=layout).train()
        kept = networks.average.to(device, memory_format=layout)
        decay = settings.optimisation.average_decay
        self.average = MovingAverage(self.network, kept, decay)
        self._helper = task.helper(self.network).to(device)
        self._parameters = [*self.network.parameters(), *self._helper.parameters()]
        self._optimiser = _optimiser(self._parameters, settings.optimisation)
        self._grey = task.grey.to(device)
        if device.type == "cpu":
            use_fast_gradients(self.network)
        raw = task.raw(self.network, self._helper)
        self._raw = torch.compile(raw, dynamic=False) if compiled else raw

    @property
    def edge_px(self) -> int:
        """Of the inputs that the next step sees."""
        return place_of(self.settings.stages, self.step).stage.edge_px

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """Take other weights than seeded ones, under the network's own keys."""
        self.network.load_state_dict(dict(weights), strict=False)
        self.average.network.load_state_dict(dict(weights), strict=False)

    def _autocast(self) -> torch.autocast:
        kind = self._device.type
        fast = kind == "cuda" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))
        return torch.autocast(kind, torch.bfloat16, enabled=fast)

    def _batch(self, frames: Frames) -> Frames:
        """Return this step's frames: a function of the seed and the step alone."""
        stage, first = place_of(self.settings.stages, self.step)
        seed = self.settings.seed
        pool = _pool(frames, stage)
        place = frames_of_step(len(pool), seed=seed, first=first, batch=stage.batch)
        generator = Generator().manual_seed((seed << 32) + self.step)
        return augmented(
            resized(frames.at(pool[place]), stage.edge_px),
            self.settings.augmentation,
            generator,
            fills=self._task.fills,
            stage=stage,
            visible_share=self.settings.detection.visible_share,
        )

    def advance(self, frames: Frames) -> dict[str, Tensor]:
        """Do one step on training frames; returns its losses, on the device."""
        settings = self.settings.optimisation
        share = share_of_rate(self.step, self.settings.steps, settings.warmup_steps)
        for group in self._optimiser.param_groups:
            group["lr"] = share * settings.learning_rate
        batch = self._batch(frames)
        with self._autocast():
            losses = self._task.losses(self._raw, batch)
        self._optimiser.zero_grad(set_to_none=True)
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(self._parameters, settings.gradient_norm)
        self._optimiser.step()
        self.step += 1
        self.average.update(self.step)
        return {name: value.detach() for name, value in losses.items()}

    def metrics(self, frames: Frames, edge_px: int, batch: int) -> dict[str, float]:
        """Measure the average on frames scaled to `edge_px`."""

        def batches() -> Iterator[Frames]:
            for index in torch.arange(frames.count).split(batch):
                yield resized(frames.at(index), edge_px)

        return self._task.metrics(self.average.network, batches())

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "helper": self._helper.state_dict(),
            "average": self.average.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            TrainingError: It is of another network.
        """
        try:
            self.network.load_state_dict(state["network"])
            self._helper.load_state_dict(state["helper"])
            self.average.network.load_state_dict(state["average"])
            self._optimiser.load_state_dict(state["optimiser"])
        except (KeyError, RuntimeError, ValueError) as error:
            message = "the checkpoint is of another network; choose another folder"
            raise TrainingError(message) from error
        self.step = int(state["step"])
