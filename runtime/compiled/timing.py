"""Kernel times that TensorRT measured, kept between builds.

A second build for the same GPU, another batch range say, then takes a fraction of the
time. They are no engine and never run, but they steer which kernels are taken, so
the same rules of ownership apply.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from spinert.runtime.compiled.flavour import Flavour
from spinert.runtime.compiled.key import Target
from spinert.runtime.compiled.storing import write_atomically
from spinert.runtime.compiled.trust import own_directory, read_own_file
from spinert.runtime.errors import BackendUnavailable

__all__ = ["TimingCache"]

logger = logging.getLogger(__name__)

_MAX_BYTES: Final = 2**30


class TimingCache:
    """The times of one TensorRT version on one GPU and driver."""

    def __init__(self, root: Path, flavour: Flavour, target: Target) -> None:
        """Choose the file under `root`, the directory of the engine cache."""
        of = {"version": flavour.version, "target": asdict(target)}
        digest = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()
        self._root = root
        self._name = f"{digest}.timing"

    def attach(self, config: Any) -> None:
        """Give `config` what was measured before; nothing where there is none."""
        cache = config.create_timing_cache(self._content())
        # Not for another GPU: TensorRT refuses a cache that was measured elsewhere.
        if cache is None or not config.set_timing_cache(cache, False):
            logger.warning("kernel times are not usable and are measured again")
            config.set_timing_cache(config.create_timing_cache(b""), False)

    def save(self, config: Any) -> None:
        """Keep what `config` has measured; a failure costs time later, no more."""
        content = memoryview(config.get_timing_cache().serialize())
        try:
            write_atomically(self._root / self._name, content)
        except OSError as error:
            logger.warning("cannot keep kernel times: %s", error.strerror)

    def _content(self) -> bytes:
        try:
            with own_directory(self._root) as root:
                return read_own_file(root, self._name, _MAX_BYTES)
        except FileNotFoundError:
            return b""
        except (OSError, BackendUnavailable) as error:
            logger.warning("kernel times are measured again: %s", error)
            return b""
