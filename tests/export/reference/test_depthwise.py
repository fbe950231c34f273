"""Faster gradients are the same gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from spinert.export.networks.efficientnet import PaddedConv
from spinert.export.reference.depthwise import use_fast_gradients


def gradients(network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    given = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        result = network(given)
    weights = torch.linspace(-1, 1, result.numel()).view(result.shape)
    (result.float() * weights).sum().backward()
    found = [parameter.grad for parameter in network.parameters()]
    return [result.detach().float(), given.grad, *found]


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
@pytest.mark.parametrize("same", [True, False])
def test_gradients_are_those_of_torch(kernel, stride, same) -> None:
    torch.manual_seed(kernel + stride)
    one = PaddedConv(8, 8, kernel, same=same, stride=stride, depthwise=True)
    other = copy.deepcopy(one)
    use_fast_gradients(other)
    x = torch.randn(2, 8, 21, 18)
    for expected, found in zip(gradients(one, x), gradients(other, x), strict=True):
        assert found.dtype == expected.dtype == torch.float32
        gap = (found - expected).norm() / expected.norm()
        assert gap < 0.01


def test_only_depthwise_convolutions_of_half_precision_are_replaced() -> None:
    network = nn.Sequential(
        PaddedConv(8, 8, 3, same=True, depthwise=True), nn.Conv2d(8, 4, 1)
    )
    use_fast_gradients(network)
    x = torch.randn(1, 8, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        result = network[0](x)
        assert "_Depthwise" in type(result.grad_fn).__name__
        assert "_Depthwise" not in type(network[1](result).grad_fn).__name__


def test_nothing_changes_where_nothing_is_cast() -> None:
    torch.manual_seed(1)
    one = PaddedConv(8, 8, 3, same=True, depthwise=True)
    other = copy.deepcopy(one)
    use_fast_gradients(other)
    x = torch.randn(2, 8, 21, 18)
    assert torch.equal(one(x), other(x))
    assert one.state_dict().keys() == other.state_dict().keys()
