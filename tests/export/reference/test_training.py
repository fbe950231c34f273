"""Training: it learns, it resumes to the bit, and it ends when asked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.reference_training import (
    ARCHITECTURES,
    RECIPE,
    order_of,
    render_data,
    same_weights,
    write_settings,
)

from spinert.export.architecture import CLASSIFIER
from spinert.export.checkpoints.reader import read_tensors
from spinert.export.errors import RecipeError, TrainingError
from spinert.export.reference.frames import frames_from_folder
from spinert.export.reference.inputs import built
from spinert.export.reference.orders import Outcome
from spinert.export.reference.running import train
from spinert.export.reference.settings import Stage
from spinert.export.reference.stopping import Stop, stopped_by_signals
from spinert.export.reference.tasks import task_of
from spinert.export.reference.training import (
    Networks,
    Training,
    place_of,
    share_of_rate,
)

NAMES = list(ARCHITECTURES)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return write_settings(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def data(settings, tmp_path_factory) -> Path:
    return render_data(tmp_path_factory.mktemp("data"), settings)


def silent(_line: str) -> None:
    return None


def trained(order, stop=None):
    architecture = ARCHITECTURES[order.name]
    return train(order, stop or Stop(), silent, architecture)


def same_tensors(first: Outcome, second: Outcome) -> dict[str, bool]:
    one, other = (read_tensors(outcome.weights) for outcome in (first, second))
    assert one.keys() == other.keys()
    return {key: torch.equal(value, other[key]) for key, value in one.items()}


def log_of(folder: Path, name: str) -> list[dict[str, float]]:
    text = (folder / f"{name}.log.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def begun(settings, name: str, stages: tuple[Stage, ...]) -> Training:
    """Return a training whose frames stay as they are."""
    table = settings.networks[name]
    calm = replace(
        table.augmentation,
        untouched=1.0,
        flip=0.0,
        gamma=0.0,
        contrast=0.0,
        brightness=0.0,
        noise=0.0,
    )
    own = replace(table, stages=stages, augmentation=calm)
    architecture = ARCHITECTURES[name]
    networks = Networks(
        trained=built(own, architecture), average=built(own, architecture)
    )
    return Training(own, task_of(own, architecture), networks, torch.device("cpu"))


@pytest.mark.parametrize(("name", "edge"), [*zip(NAMES, (64, 128), strict=True)])
def test_the_loss_of_one_batch_falls(settings, data, name, edge) -> None:
    stages = (Stage(steps=60, batch=4, edge_px=edge),)
    training = begun(settings, name, stages)
    frames = frames_from_folder(data / "train", ARCHITECTURES[name].role)
    few = frames.at(torch.arange(4))
    losses = [float(training.advance(few)["loss"]) for _ in range(35)]
    assert losses[-1] < 0.6 * losses[0]


def test_abnormal_frames_alone_are_drawn_where_a_stage_asks_for_them(
    settings, data
) -> None:
    stages = (Stage(steps=2, batch=4, edge_px=128, abnormal_only=True),)
    training = begun(settings, NAMES[1], stages)
    frames = frames_from_folder(data / "train", ARCHITECTURES[NAMES[1]].role)
    assert 0 < int(frames.abnormal.sum()) < frames.count
    seen = training._batch(frames)
    assert bool(seen.abnormal.all())
    normal = replace(frames, abnormal=torch.zeros_like(frames.abnormal))
    with pytest.raises(TrainingError, match="no frame has a lesion"):
        training.advance(normal)


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_training_ends_with_the_same_weights(
    settings, data, tmp_path, name
) -> None:
    whole = trained(order_of(name, settings, data, tmp_path / "whole"))
    assert whole.is_complete
    for steps in (1, 4, 5):
        order = order_of(name, settings, data, tmp_path / "parts", steps=steps)
        assert trained(order).step == steps
    parts = trained(order_of(name, settings, data, tmp_path / "parts"))
    assert parts.is_complete
    first, second = (
        torch.load(folder / f"{name}.checkpoint", weights_only=True)
        for folder in (tmp_path / "whole", tmp_path / "parts")
    )
    for kind in ("network", "average"):
        for key, value in first[kind].items():
            assert torch.equal(value, second[kind][key]), key
    assert all(same_tensors(whole, parts).values())


def test_a_complete_training_measures_what_it_did_not_see(
    settings, data, tmp_path
) -> None:
    outcome = trained(order_of(NAMES[1], settings, data, tmp_path, validate_every=3))
    assert set(outcome.metrics) == {"validation"}
    measured = outcome.metrics["validation"]
    assert {"map50", "ap50 Osteophytes"} <= measured.keys()
    assert "ap50 Vertebral collapse" not in measured  # no phantom here has one
    lines = log_of(tmp_path, NAMES[1])
    assert [line["step"] for line in lines if "split" in line] == [3, 6, 6]
    assert lines[-1]["split"] == "validation"
    losses = [line for line in lines if "loss" in line]
    assert losses[-1]["step"] == 6
    assert {"class", "box", "seconds"} <= losses[-1].keys()


def test_a_request_to_stop_leaves_a_checkpoint(settings, data, tmp_path) -> None:
    stop = Stop()
    stop.ask()
    outcome = trained(order_of(NAMES[0], settings, data, tmp_path), stop)
    assert (outcome.step, outcome.is_complete, dict(outcome.metrics)) == (0, False, {})
    assert (tmp_path / f"{NAMES[0]}.checkpoint").exists()
    assert trained(order_of(NAMES[0], settings, data, tmp_path)).is_complete


def test_no_time_is_no_step(settings, data, tmp_path) -> None:
    outcome = trained(order_of(NAMES[0], settings, data, tmp_path, minutes=0.0))
    assert outcome.step == 0


def test_signals_ask_to_stop_and_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stopped_by_signals() as stop:
        assert not stop.asked
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
def test_sigterm_leaves_a_checkpoint_and_weights(data, tmp_path) -> None:
    # The full-size network on tiny inputs: the command knows no other.
    text = RECIPE.split("[networks.")[0] + (
        "[networks.densenet121]\n"
        'architecture = "densenet121"\nstyle = "vindr"\nseed = 1\n'
        "stages = [{ steps = 100000, batch = 2, edge_px = 32 }]\n"
        "[networks.densenet121.optimisation]\nlearning_rate = 1e-3\n"
    )
    (tmp_path / "recipe.toml").write_text(text)
    command = [sys.executable, "-m", "spinert.export.reference.train"]
    command += ["--network", "densenet121", "--data", str(data), "--threads", "1"]
    command += ["--output", str(tmp_path / "out"), "--validate-every", "1"]
    command += ["--recipe", str(tmp_path / "recipe.toml")]
    log = tmp_path / "out" / "densenet121.log.jsonl"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while not log.exists() and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert "stopped; run again to go on" in printed
    checkpoint = tmp_path / "out" / "densenet121.checkpoint"
    assert torch.load(checkpoint, weights_only=True)["step"] >= 1
    assert read_tensors(tmp_path / "out" / "densenet121.safetensors")


def test_stored_weights_can_be_begun_with(settings, data, tmp_path) -> None:
    name = NAMES[0]
    first = trained(order_of(name, settings, data, tmp_path / "first"))
    order = order_of(name, settings, data, tmp_path / "second", minutes=0.0)
    second = trained(replace(order, initial=first.weights))
    assert all(same_tensors(first, second).values())
    fresh = trained(order_of(name, settings, data, tmp_path / "third", minutes=0.0))
    assert not all(same_tensors(first, fresh).values())


def test_a_checkpoint_of_other_settings_is_refused(settings, data, tmp_path) -> None:
    name = NAMES[0]
    trained(order_of(name, settings, data, tmp_path, steps=1))
    table = replace(settings.networks[name], seed=77)
    other = replace(settings, networks={**settings.networks, name: table})
    with pytest.raises(TrainingError, match="other settings or data"):
        trained(order_of(name, other, data, tmp_path))
    (tmp_path / f"{name}.checkpoint").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(TrainingError, match="damaged; remove it"):
        trained(order_of(name, settings, data, tmp_path))


def test_a_loss_that_is_no_number_ends_the_training(settings, data, tmp_path) -> None:
    name = NAMES[0]
    table = settings.networks[name]
    wild = replace(table, optimisation=replace(table.optimisation, learning_rate=1e30))
    other = replace(settings, networks={name: wild})
    with pytest.raises(TrainingError, match=r"step 6: the loss is nan; lower"):
        trained(order_of(name, other, data, tmp_path))
    assert not (tmp_path / f"{name}.safetensors").exists()


def test_a_network_that_the_recipe_lacks_is_named(settings, data, tmp_path) -> None:
    order = order_of("densenet999", settings, data, tmp_path)
    with pytest.raises(RecipeError, match="no network 'densenet999'; the recipe has"):
        train(order, Stop(), silent)


def test_seeds_decide_the_first_weights(settings) -> None:
    stages = (Stage(steps=1, batch=1, edge_px=32),)
    first, again = (begun(settings, NAMES[0], stages).network for _ in range(2))
    assert same_weights(first, again)
    table = replace(settings.networks[NAMES[0]], seed=99)
    other = replace(settings, networks={NAMES[0]: table})
    assert not same_weights(first, begun(other, NAMES[0], stages).network)


def test_an_untrained_detector_sees_background_everywhere(settings) -> None:
    stages = (Stage(steps=1, batch=1, edge_px=128),)
    network = begun(settings, NAMES[1], stages).network
    logits, _ = network.outputs(torch.randn((2, 3, 128, 128)))
    assert torch.sigmoid(logits).mean().item() == pytest.approx(0.01, abs=0.005)


def test_stages_follow_each_other() -> None:
    stages = (
        Stage(steps=3, batch=4, edge_px=32),
        Stage(steps=2, batch=5, edge_px=64),
    )
    places = [place_of(stages, step) for step in range(5)]
    assert [place.stage.edge_px for place in places] == [32, 32, 32, 64, 64]
    assert [place.first for place in places] == [0, 4, 8, 12, 17]


def test_the_rate_rises_and_falls() -> None:
    shares = [share_of_rate(step, 100, 10) for step in range(100)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == shares[9]
    assert shares[9:] == sorted(shares[9:], reverse=True)
    assert shares[-1] < 0.001


def test_the_average_follows_the_weights_slowly(settings, data) -> None:
    stages = (Stage(steps=9, batch=4, edge_px=64),)
    training = begun(settings, NAMES[0], stages)
    frames = frames_from_folder(data / "train", CLASSIFIER)
    key = "head.heads.0.weight"
    expected = training.network.state_dict()[key].clone()
    for step in range(1, 6):
        training.advance(frames)
        decay = min(0.999, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * training.network.state_dict()[key]
    found = training.average.network.state_dict()[key]
    torch.testing.assert_close(found, expected)
    assert not torch.equal(found, training.network.state_dict()[key])
