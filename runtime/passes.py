"""Remember which bundle passed its golden set with which backend on this machine."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spinert.runtime.backends import Capabilities
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.golden import GoldenReport

__all__ = ["PassKey", "cpu_model", "has_pass", "key_of_pass", "store_pass"]

logger = logging.getLogger(__name__)

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, kw_only=True, slots=True)
class PassKey:
    """What a pass is good for; anything else has to prove itself again."""

    bundle_sha256: str
    capabilities: Capabilities
    runtime_version: str
    machine: str
    """The processor: kernels, and so rounding, depend on it."""

    def path(self, directory: Path) -> Path:
        """Return the file of this pass, whether or not it exists."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode())
        return directory / "passes" / f"{digest.hexdigest()}.json"


def cpu_model() -> str:
    """Return the processor's name and architecture."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if "model name" in line)
    return f"{next(names, platform.processor())} {platform.machine()}".strip()


def key_of_pass(
    bundle: LoadedBundle, capabilities: Capabilities, runtime_version: str
) -> PassKey:
    """Return what a pass of `bundle` with this backend on this machine is good for."""
    return PassKey(
        bundle_sha256=bundle.sha256,
        capabilities=capabilities,
        runtime_version=runtime_version,
        machine=cpu_model(),
    )


def has_pass(directory: Path, key: PassKey, batch_sizes: Iterable[int]) -> bool:
    """Tell whether `key` passed with all of `batch_sizes`.

    A file that is missing, damaged or of another key is no pass.
    """
    try:
        stored: Any = json.loads(key.path(directory).read_bytes())
        return bool(
            stored["key"] == asdict(key)
            and set(batch_sizes) <= set(stored["report"]["batch_sizes"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def store_pass(directory: Path, key: PassKey, report: GoldenReport) -> None:
    """Remember a pass under `directory`: complete on disk or not there at all.

    Where the directory cannot be written this is logged, and the golden set runs
    again at the next start.
    """
    path = key.path(directory)
    content = {"key": asdict(key), "report": asdict(report)}
    text = json.dumps(content, indent=2, sort_keys=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_atomically(path, text.encode())
    except OSError as error:
        logger.warning("cannot remember the golden pass: %s", error.strerror)


def _write_atomically(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
