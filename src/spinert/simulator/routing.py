"""Which of several accelerators a frame goes to: a pure function.

A server has one; this stands for what is in front of several.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["first_free"]


def first_free(free_at_s: Sequence[float], now_s: float) -> int:
    """Return the accelerator that will have served first what it has.

    Among those that are free already, the one that has been so for longest: all of
    them stay warm, and their costs known.

    Args:
        free_at_s: By accelerator, when its work will be done; in the past for
            one that has none.
        now_s: On the same clock.
    """
    return min(
        range(len(free_at_s)),
        key=lambda index: (max(free_at_s[index], now_s), free_at_s[index]),
    )
