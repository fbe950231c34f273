"""The variants of the ResNet with its pyramid."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spinert.export.networks.resnet_fpn import Conv, ResNetFPN, ResNetSpec

SMALL = ResNetSpec(blocks=(1, 1, 1, 1), stem=8, pyramid=16)


def entries(spec: ResNetSpec) -> int:
    with torch.device("meta"):
        keys = ResNetFPN(spec).state_dict()
    return sum(not key.endswith("num_batches_tracked") for key in keys)


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        (ResNetSpec(), 281),
        (ResNetSpec(levels=(3, 4, 5)), 277),
        (ResNetSpec(blocks=(3, 4, 23, 3)), 281 + 17 * 15),
        # A bias less and four values of the norm more in each of eight convolutions.
        (ResNetSpec(fpn_norm=True), 281 + 8 * 3),
    ],
)
def test_a_variant_has_the_entries_of_its_checkpoints(spec, count) -> None:
    assert entries(spec) == count


def test_a_pyramid_without_p2_has_the_other_levels_unchanged() -> None:
    torch.manual_seed(1)
    whole = ResNetFPN(SMALL).eval()
    part = ResNetFPN(
        ResNetSpec(blocks=(1, 1, 1, 1), stem=8, pyramid=16, levels=(3, 4, 5))
    )
    state = part.state_dict()
    part.load_state_dict({k: v for k, v in whole.state_dict().items() if k in state})
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        levels, fewer = whole(x), part.eval()(x)
    assert [tuple(level.shape[2:]) for level in fewer] == [(8, 12), (4, 6), (2, 3)]
    for level, same in zip(levels[1:], fewer, strict=True):
        assert torch.equal(level, same)


def test_stages_and_pyramid_are_the_two_halves() -> None:
    torch.manual_seed(2)
    network = ResNetFPN(SMALL).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        stages = network.stages(x)
        levels = network.pyramid(stages)
        together = network(x)
    assert [stage.shape[1] for stage in stages] == [32, 64, 128, 256]
    for one, other in zip(levels, together, strict=True):
        assert torch.equal(one, other)


def test_a_normalised_pyramid_convolves_without_bias() -> None:
    network = ResNetFPN(
        ResNetSpec(blocks=(1, 1, 1, 1), stem=8, pyramid=16, fpn_norm=True)
    )
    for level in (2, 3, 4, 5):
        for part in ("lateral", "output"):
            conv = getattr(network, f"fpn_{part}{level}")
            assert isinstance(conv, Conv)
            assert conv.bias is None
            assert isinstance(conv.norm, nn.BatchNorm2d)


def test_a_coarse_level_adds_each_of_its_pixels_to_four() -> None:
    network = ResNetFPN(SMALL).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for level in (4, 5):
            lateral = getattr(network, f"fpn_lateral{level}")
            lateral.weight[0, 0] = 1.0
            output = getattr(network, f"fpn_output{level}")
            output.weight[0, 0, 1, 1] = 1.0
        coarse = torch.arange(6.0).reshape(1, 1, 2, 3)
        stages = [torch.zeros(1, SMALL.stem * 2**n, 64 >> n, 96 >> n) for n in (2, 3)]
        stages += [torch.zeros(1, 128, 4, 6), torch.zeros(1, 256, 2, 3)]
        stages[3][:, :1] = coarse
        p4 = network.pyramid(stages)[2][0, 0]
    rows = [[0, 0, 1, 1, 2, 2], [3, 3, 4, 4, 5, 5]]
    assert p4.tolist() == [rows[0], rows[0], rows[1], rows[1]]
