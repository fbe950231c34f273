"""What goes wrong in a network, as an error of its own."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator
from contextlib import contextmanager

from spinert.runtime.errors import BackendError, Reason

__all__ = ["network_failures"]

logger = logging.getLogger(__name__)


@contextmanager
def network_failures(backend: str, role: str, loaded: Container[str]) -> Iterator[None]:
    """Log whatever the block raises, and make it an error without its words.

    Args:
        backend: Its name, for the log.
        role: The network that the block runs.
        loaded: Roles that can be run.

    Raises:
        BackendError: The network is not loaded, or the block failed.
    """
    if role not in loaded:
        raise BackendError(
            Reason.NETWORK_FAILED, f"network {role!r} is not loaded; load it first"
        )
    try:
        yield
    except Exception as error:
        logger.exception("%s failed on network %s", backend, role)
        raise BackendError(
            Reason.NETWORK_FAILED,
            f"network {role!r} failed; run `spinert verify` on the bundle",
        ) from error
