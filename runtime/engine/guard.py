"""The body of every thread of the engine: what it serves may fail, it may not."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import PurePath

from spinert.runtime.errors import DeviceLost

__all__ = ["keep_serving"]

logger = logging.getLogger(__name__)

_GIVES_UP_AFTER = 3
"""Failures in a row. One frame can fail a step; three in a row are a broken thread."""


def keep_serving(
    name: str, step: Callable[[], bool], on_giving_up: Callable[[], None]
) -> None:
    """Call `step` until it returns False, whatever it raises in between.

    Args:
        name: Of the thread, for the log.
        step: Serves once; False when there is nothing left to serve. It answers
            for its own frames before it raises.
        on_giving_up: Called instead of a further step after three failures in a row,
            or after the accelerator was lost.
    """
    failures = 0
    while failures < _GIVES_UP_AFTER:
        try:
            if not step():
                return
            failures = 0
        except Exception as error:
            # Another step on a dead device can only fail.
            is_last = isinstance(error, DeviceLost)
            failures = _GIVES_UP_AFTER if is_last else failures + 1
            # Never the text: it may quote a frame.
            logger.error(
                "engine thread %s failed: %s at %s",
                name,
                type(error).__name__,
                _place(error),
            )
    logger.critical("engine thread %s gives up", name)
    on_giving_up()


def _place(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{PurePath(last.filename).name}:{last.lineno}"
