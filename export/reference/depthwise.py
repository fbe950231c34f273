"""Depthwise convolutions in bfloat16 on a CPU, differentiated where that is fast.

oneDNN computes a depthwise convolution in bfloat16 two to five times as fast as in
float32, but its gradients through strides and of 5x5 kernels three to fifty times as
slowly. Those are taken in float32; EfficientDet-D0 then trains 1.5 times as fast.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["use_fast_gradients"]

_LARGEST_IN_HALF = 3


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution of bfloat16 tensors."""

    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor, stride: list[int], padding: list[int]
    ) -> Tensor:
        context.save_for_backward(x, weight)
        context.stride, context.padding = stride, padding
        return functional.conv2d(x, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        x, weight = context.saved_tensors

        def taken(wanted: list[bool], in_half: bool) -> Any:
            kind = torch.bfloat16 if in_half else torch.float32
            return torch.ops.aten.convolution_backward(
                gradient.to(kind),
                x.to(kind),
                weight.to(kind),
                None,
                context.stride,
                context.padding,
                [1, 1],
                False,
                [0, 0],
                len(weight),
                wanted,
            )

        of_x = taken([True, False, False], max(context.stride) == 1)[0]
        small = weight.shape[-1] <= _LARGEST_IN_HALF
        of_weight = taken([False, True, False], small)[1]
        return of_x.to(x.dtype), of_weight.to(weight.dtype), None, None


def _conv_forward(
    module: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Stand in for `nn.Conv2d._conv_forward`, which padding and hooks go through."""
    if not torch.is_autocast_enabled("cpu") or bias is not None:
        return type(module)._conv_forward(module, x, weight, bias)
    stride, padding = list(module.stride), [int(side) for side in module.padding]
    result: Tensor = _Depthwise.apply(x.bfloat16(), weight.bfloat16(), stride, padding)
    return result


def use_fast_gradients(network: nn.Module) -> None:
    """Let the depthwise convolutions of a network on the CPU be trained faster."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            own = MethodType(_conv_forward, module)
            module._conv_forward = own
