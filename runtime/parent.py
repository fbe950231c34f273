"""Processes that must not outlive the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["end_with_parent"]

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int, number: signal.Signals) -> None:
    """Have the kernel send signal `number` to this process when its parent ends.

    The parent is the thread that started this process, see prctl(2). Exits where
    that has already happened.

    Args:
        parent: Process id of the parent, as told by itself.
        number: SIGKILL, or a signal that this process ends upon.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        sys.exit(0)  # The parent ended before it could have been noticed.
