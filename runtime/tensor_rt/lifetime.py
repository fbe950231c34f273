"""What lies on the device must not outlive it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["nothing_kept_by_errors"]


@contextmanager
def nothing_kept_by_errors() -> Iterator[None]:
    """Make what the block raises let go of everything its functions held.

    A traceback keeps the variables of the functions it passed through. An engine among
    them would be destroyed when somebody drops the error: after the device, and with
    none current. The traceback itself stays, to be logged; what a function's closure
    holds stays with it.
    """
    try:
        yield
    except BaseException as error:
        seen: BaseException | None = error
        while seen is not None:
            traceback.clear_frames(seen.__traceback__)
            seen = seen.__cause__ or seen.__context__
        raise
