"""Shared memory objects as a device creates them, gone after the test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spinert.runtime.server.region_rules import RegionLimits
from spinert.runtime.server.regions import Regions

ADMITTED = RegionLimits(is_on=True, users=frozenset({os.geteuid()}), key_prefix="/")


@dataclass(frozen=True)
class SharedObject:
    """An object of this user's."""

    path: Path

    @property
    def key(self) -> str:
        return f"/{self.path.name}"

    def write(self, content: bytes, at: int = 0) -> None:
        with self.path.open("r+b") as file:
            file.seek(at)
            file.write(content)


@contextmanager
def shared_object(content: bytes, mode: int = 0o600) -> Iterator[SharedObject]:
    """Create an object that holds `content`; the name is free on this machine."""
    path = Path("/dev/shm") / f"spinert-test-{uuid.uuid4().hex}"
    path.write_bytes(content)
    path.chmod(mode)
    try:
        yield SharedObject(path)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def regions_in(directory: Path, limits: RegionLimits = ADMITTED) -> Iterator[Regions]:
    """Yield a registry whose objects are files of `directory`."""
    regions = Regions(limits, str(directory))
    try:
        yield regions
    finally:
        regions.close()


def open_files() -> int:
    """Count the descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
