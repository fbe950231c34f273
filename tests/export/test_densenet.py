"""The DenseNets against torchvision's, and what a mistake would look like."""

from __future__ import annotations

import pytest
import torch
from support.small_networks import (
    DENSENET,
    batch,
    calibration,
    fixed_canvas,
    golden_frames,
    grey_input,
    small_densenet,
)
from support.torchvision_models import torchvision_densenet
from torch import Tensor, nn
from torch.nn import functional

from spinert.export.checkpoints.mapping import own_keys
from spinert.export.families.densenet import TORCHVISION_DENSENET
from spinert.export.networks.densenet import (
    DENSENET121,
    DENSENET169,
    DENSENET201,
    DenseNet,
    DenseNetSpec,
)
from spinert.export.networks.ensemble import ClassifierEnsemble
from spinert.export.untrained.densenet import calibrate_densenet
from spinert.proto.agreement import FP32, TOLERANCES

NEAR = TOLERANCES[FP32]["logits"]
FAR = 20 * NEAR


def logits_by_torchvision(
    network: DenseNet, spec: DenseNetSpec, x: Tensor, *, final_relu: bool
) -> Tensor:
    other = torchvision_densenet(
        growth_rate=spec.growth,
        block_config=spec.layers,
        num_init_features=spec.stem,
        num_classes=1,
    )
    state = network.state_dict()
    renamed = {
        TORCHVISION_DENSENET.source_key(key): state[key] for key in own_keys(network)
    }
    lost = other.load_state_dict(renamed, strict=False)
    assert not lost.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in lost.missing_keys)
    with torch.no_grad():
        if final_relu:
            return other(x)
        pooled = functional.adaptive_avg_pool2d(other.features(x), 1).flatten(1)
        return other.classifier(pooled)


@pytest.mark.parametrize("final_relu", [True, False])
@pytest.mark.parametrize(
    ("spec", "edge"), [(DENSENET, 64), (DENSENET121, 224)], ids=["small", "121"]
)
def test_a_densenet_computes_what_torchvision_computes(
    spec: DenseNetSpec, edge: int, final_relu: bool
) -> None:
    frames = golden_frames(fixed_canvas(edge))
    network = small_densenet(frames, spec, final_relu=final_relu)
    x = grey_input()(*batch(frames))
    expected = logits_by_torchvision(network, spec, x, final_relu=final_relu)
    with torch.no_grad():
        actual = network(x)
    assert actual.std() > 1
    torch.testing.assert_close(actual, expected, rtol=0, atol=NEAR / 5)


@pytest.mark.parametrize(
    ("spec", "entries", "features"),
    [(DENSENET121, 727, 1024), (DENSENET169, 1015, 1664), (DENSENET201, 1207, 1920)],
)
def test_the_official_checkpoints_have_as_many_entries(
    spec: DenseNetSpec, entries: int, features: int
) -> None:
    with torch.device("meta"):
        network = DenseNet(spec, final_relu=False)
    assert len(network.state_dict()) == entries
    assert spec.features == features


def test_calibrated_probabilities_lie_on_both_sides_of_the_threshold() -> None:
    frames = golden_frames(fixed_canvas())
    network = small_densenet(frames, final_relu=False)
    with torch.no_grad():
        logits = network(grey_input()(*batch(frames)))
    probabilities = torch.sigmoid(logits)
    assert logits.std(correction=0) > 1
    assert probabilities.min() < 0.28 < probabilities.max()


def test_only_a_densenet_is_calibrated_as_one() -> None:
    with pytest.raises(TypeError, match="Linear"):
        calibrate_densenet(nn.Linear(1, 1), calibration(golden_frames(fixed_canvas())))


def with_final_relu(network: DenseNet) -> dict[str, object]:
    network.final_relu = True
    return {}


def with_wrong_eps(network: DenseNet) -> dict[str, object]:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3
    return {}


def with_wrong_mean_order(_network: DenseNet) -> dict[str, object]:
    return {"mean": (123.675, 116.28, 103.53)}


def with_range_0_to_1(_network: DenseNet) -> dict[str, object]:
    return {"std": (58.395, 57.12, 57.375)}


MISTAKES = [with_final_relu, with_wrong_eps, with_wrong_mean_order, with_range_0_to_1]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_moves_the_logits_far_beyond_the_tolerance(mistake) -> None:
    frames = golden_frames(fixed_canvas())
    network = small_densenet(frames, final_relu=False)
    image, _ = batch(frames)
    with torch.no_grad():
        right = ClassifierEnsemble(grey_input(), [network]).eval()(image)
        changes = mistake(network)
        wrong = ClassifierEnsemble(grey_input(**changes), [network]).eval()(image)
    assert (right - wrong).abs().max() > FAR
