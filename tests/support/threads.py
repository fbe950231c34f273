"""Threads that came since a moment.

Counting is not enough: threads of tests before may end meanwhile.
"""

from __future__ import annotations

import threading

__all__ = ["threads_since"]


def threads_since(before: set[threading.Thread]) -> set[threading.Thread]:
    """Return the threads of this process that run and were not in `before`."""
    return set(threading.enumerate()) - before
