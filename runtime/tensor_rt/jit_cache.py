"""Kernels that TensorRT-RTX makes on the target, kept from one start to the next.

An engine of TensorRT-RTX is portable over GPUs; its kernels are compiled when it is
loaded and first run, which takes seconds to minutes. They are programs like the
engine, so they lie beside it in the engine cache and are read under the same rules.
TensorRT-RTX itself refuses kernels of another GPU, driver or version.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any, Final

from spinert.runtime.compiled.flavour import Flavour
from spinert.runtime.compiled.storing import write_atomically
from spinert.runtime.compiled.trust import own_directory, read_own_file

__all__ = ["JitCache", "opened_jit_cache"]

logger = logging.getLogger(__name__)

_FILE: Final = "kernels.jit"
_MAX_BYTES: Final = 2**32


class JitCache:
    """The kernels of one engine."""

    def __init__(self, cache: Any, path: Path, digest: str) -> None:
        """Own a tensorrt_rtx.IRuntimeCache.

        Args:
            cache: It, with what was stored before.
            path: Where `save` writes.
            digest: SHA-256 of what is there; empty where nothing usable is.
        """
        self.cache = cache
        self._path = path
        self._digest = digest

    def save(self) -> None:
        """Write the kernels if there are new ones; a failure is only logged."""
        content = bytes(memoryview(self.cache.serialize()))
        digest = hashlib.sha256(content).hexdigest()
        if digest == self._digest:
            return
        try:
            write_atomically(self._path, memoryview(content))
        except OSError as error:
            logger.warning(
                "cannot keep the kernels of an engine, they are made again at the next "
                "start: %s",
                error.strerror,
            )
            return
        self._digest = digest


def opened_jit_cache(flavour: Flavour, engine: Any, directory: Path) -> JitCache | None:
    """Return the kernels kept in `directory`; None where the flavour makes none.

    Raises:
        BackendUnavailable: Another user could have written them.
    """
    if not flavour.product.is_ahead_of_time:
        return None
    cache = engine.create_runtime_config().create_runtime_cache()
    content = _stored(directory)
    digest = ""
    if content:
        if cache.deserialize(content):
            digest = hashlib.sha256(content).hexdigest()
        else:
            logger.info("the kept kernels are of another GPU, driver or version")
    return JitCache(cache, directory / _FILE, digest)


def _stored(directory: Path) -> bytes:
    try:
        with own_directory(directory) as descriptor:
            return read_own_file(descriptor, _FILE, _MAX_BYTES)
    except OSError:
        return b""
