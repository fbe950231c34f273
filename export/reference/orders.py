"""What to train, how long, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from spinert.export.errors import RecipeError
from spinert.export.reference.settings import NetworkSettings, TrainingSettings

__all__ = ["Order", "Outcome", "Pace"]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """When to look, save and end."""

    steps: int | None = None
    """End after this many steps in all; None: after the recipe's."""
    minutes: float = math.inf
    """End after this long, counted from the order to begin."""
    validate_every: int = 500
    """Steps between measurements on the validation split."""
    save_every_minutes: float = 5.0
    """Between checkpoints."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """One network to train."""

    name: str
    """Of the network in the recipe, and of its files."""
    settings: TrainingSettings
    data: Path
    """Holds a folder for each split."""
    output: Path
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    pace: Pace = field(default_factory=Pace)
    initial: Path | None = None
    """Stored weights to begin with, where there is no checkpoint yet."""
    compiled: bool = False

    @property
    def network(self) -> NetworkSettings:
        """The recipe's table of this network.

        Raises:
            RecipeError: It has none.
        """
        if self.name not in self.settings.networks:
            known = ", ".join(sorted(self.settings.networks))
            raise RecipeError(f"no network {self.name!r}; the recipe has {known}")
        return self.settings.networks[self.name]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Where a training stands."""

    step: int
    steps: int
    metrics: Mapping[str, Mapping[str, float]]
    """By split; empty unless all steps are done."""
    weights: Path

    @property
    def is_complete(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.steps
