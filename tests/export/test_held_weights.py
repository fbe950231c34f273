"""Weights are hundreds of megabytes: who holds them, and until when."""

from __future__ import annotations

import gc
import multiprocessing
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.small_networks import (
    RECIPE,
    SMALL,
    fixed_canvas,
    golden_frames,
    small_densenet,
    write_recipe,
)

from spinert.export import making, workers
from spinert.export.architecture import CLASSIFIER, DETECTOR
from spinert.export.checkpoints.mapping import own_keys
from spinert.export.errors import ParityError
from spinert.export.making import ExportPlan, export_plan
from spinert.export.onnx_from_torch import GraphSpec, onnx_from_torch
from spinert.export.pipeline import export_bundle
from spinert.export.recipe import recipe_from_toml
from spinert.export.workers import WorkOrder, plan_key

SECOND = """
[[classifier]]
name = "second"
architecture = "small_densenet"
checkpoint = "untrained:2"
"""


@dataclass
class Held:
    """What was read, and how much of it was left at the comparison."""

    seen: dict[str, weakref.ref[Any]] = field(default_factory=dict)
    left: list[str] | None = None

    def see(self, name: str, value: Any) -> None:
        self.seen[name] = weakref.ref(value)

    def compare(self, *_: object) -> None:
        self.left = [name for name, ref in self.seen.items() if ref() is not None]
        raise ParityError("that is enough")


@pytest.fixture
def held(monkeypatch) -> Held:
    """Follow the tensors of a file."""
    found, read = Held(), making.opened_recipe

    def reading(*arguments: Any) -> Any:
        opened = read(*arguments)
        for key, tensor in opened.classifiers[0].tensors.items():
            found.see(key, tensor)
        return opened

    monkeypatch.setattr(making, "opened_recipe", reading)
    monkeypatch.setattr(making, "measured_parity", found.compare)
    return found


@pytest.fixture
def recipe(tmp_path) -> Path:
    """Return a recipe whose only classifier is a file."""
    network = small_densenet(golden_frames(fixed_canvas()), final_relu=False)
    style = SMALL["small_densenet"].styles[0]
    state = network.state_dict()
    tensors = {style.source_key(key): state[key].clone() for key in own_keys(network)}
    save_file(tensors, tmp_path / "first.safetensors")
    text = RECIPE.replace("untrained:1", "first.safetensors").replace(SECOND, "")
    return write_recipe(tmp_path, text)


def test_nothing_is_left_of_a_file_when_onnx_runtime_compares(recipe, held) -> None:
    with pytest.raises(ParityError, match="that is enough"):
        export_bundle(
            recipe, recipe.parent / "bundle", lambda *_: None, architectures=SMALL
        )
    assert held.seen
    assert held.left == []


def test_nor_in_a_process_of_its_own(recipe, held, monkeypatch) -> None:
    monkeypatch.setattr(workers, "ARCHITECTURES", SMALL)
    read = recipe_from_toml(recipe)
    order = WorkOrder(
        recipe=read,
        role=CLASSIFIER,
        folder=recipe.parent / "made",
        key=plan_key(export_plan(read, SMALL), CLASSIFIER),
        threads=torch.get_num_threads(),
    )
    receiver, sender = multiprocessing.Pipe(duplex=False)
    with receiver, sender:
        workers._work(order, sender)
    assert held.seen
    assert held.left == []


def test_a_network_that_was_converted_can_go() -> None:
    def converted() -> weakref.ref[torch.Tensor]:
        network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten())
        spec = GraphSpec(inputs=("image",), outputs=("y",), dynamic=({0: "batch"},))
        onnx_from_torch(network, [torch.zeros(2, 1, 8, 8)], spec)
        return weakref.ref(network[0].weight)

    weight = converted()
    gc.collect()
    assert weight() is None


def with_weights(plan: ExportPlan) -> list[str]:
    return [member.role for member in plan.opened.members if member.tensors]


def test_a_making_holds_no_weights_of_others(recipe, tmp_path) -> None:
    plan = export_plan(recipe_from_toml(recipe), SMALL)
    assert with_weights(plan) == [CLASSIFIER]
    for role, held in ((CLASSIFIER, [CLASSIFIER]), (DETECTOR, [])):
        made = making.NetworkMaking(plan, role, tmp_path / "made", lambda *_: None)
        assert with_weights(made._plan) == held
    assert with_weights(plan) == [CLASSIFIER]
