"""What training code stores next to the weights, and only a person can act on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from torch import Tensor

__all__ = ["threshold_beside"]

_THRESHOLD: Final = "threshold"


def threshold_beside(content: Any, wrappers: Sequence[str]) -> float | None:
    """Return the operating point that a file has beside its weights, if it has one.

    Args:
        content: Of the file.
        wrappers: Keys that lead to the weights, the outermost first. What lies among
            the weights themselves is not looked at.
    """
    found = None
    for wrapper in wrappers:
        found = _number(content.get(_THRESHOLD), found)
        content = content[wrapper]
        if not isinstance(content, Mapping):
            break
    return found


def _number(value: object, otherwise: float | None) -> float | None:
    try:
        if isinstance(value, np.ndarray | np.generic | Tensor):
            value = value.item() if np.prod(value.shape) == 1 else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return otherwise
        number = float(value)
    except (OverflowError, RuntimeError):  # too large; a tensor without data
        return otherwise
    return number if math.isfinite(number) else otherwise
