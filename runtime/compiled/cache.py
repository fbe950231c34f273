"""The engines this user has built, on disk.

    ROOT/DIGEST/engine.plan        what TensorRT runs
    ROOT/DIGEST/manifest.json      its key, size, SHA-256, how it was built
    ROOT/DIGEST/...                what others keep beside the engine: certificates of
                                   the gate, kernels made on the target
    ROOT/DIGEST.lock               held while the engine is built or removed
    ROOT/DIGEST.partial/           being written; never read

DIGEST is of the engine's key, so that a stale engine is never looked at. A folder
appears complete, by a rename, or not at all.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from spinert.runtime.compiled.key import EngineKey
from spinert.runtime.compiled.locking import locked
from spinert.runtime.compiled.pruning import pruned
from spinert.runtime.compiled.storing import (
    MANIFEST,
    PLAN,
    BuildRecord,
    prepared_root,
    require_room,
    storage_errors,
    stored,
)
from spinert.runtime.compiled.trust import (
    own_directory,
    own_directory_within,
    read_own_file,
)

__all__ = ["EngineCache", "StoredEngine"]

logger = logging.getLogger(__name__)

_MAX_MANIFEST_BYTES: Final = 2**20
_MAX_PLAN_BYTES: Final = 2**36


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredEngine:
    """An engine whose content was checked when it was read."""

    directory: Path
    """Where its certificate belongs."""
    digest: str
    plan: bytes
    sha256: str
    record: BuildRecord


class EngineCache:
    """Engines under one directory of this user, outside every bundle."""

    def __init__(self, root: Path) -> None:
        """Use directory `root`, which is made where needed, readable by nobody else.

        Raises:
            BackendUnavailable: It cannot be made, lies in a bundle, or is not this
                user's alone to write.
        """
        self.root = prepared_root(root)

    def load(self, key: EngineKey) -> StoredEngine | None:
        """Return the engine of `key`; None where there is none, or a damaged one.

        Raises:
            BackendUnavailable: There is one that another user could have written.
        """
        digest = key.digest()
        try:
            with (
                own_directory(self.root) as root,
                own_directory_within(root, digest) as folder,
            ):
                engine = self._read(folder, key, digest)
                with suppress(OSError):
                    os.utime(PLAN, dir_fd=folder)  # for prune: used just now
                return engine
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            logger.warning(
                "engine %s of network %s is damaged and does not count",
                digest[:12],
                key.role,
            )
            return None

    @contextmanager
    def building(self, key: EngineKey, waiting: Callable[[], None]) -> Iterator[None]:
        """Keep every other process and thread from building `key` meanwhile.

        Args:
            key: What will be built.
            waiting: Called every now and then while another builds it; what it raises
                ends the waiting.

        Raises:
            BackendUnavailable: The directory cannot be written.
        """
        with ExitStack() as stack:
            with storage_errors(self.root):
                lock = locked(self.root / f"{key.digest()}.lock", waiting)
                stack.enter_context(lock)
            yield

    def require_room(self, bytes_needed: int) -> None:
        """Do nothing if an engine of that size can be stored.

        Raises:
            BackendUnavailable: The disk has less left.
        """
        require_room(self.root, bytes_needed)

    def store(self, key: EngineKey, plan: memoryview, record: BuildRecord) -> None:
        """Keep an engine; call it within `building`. One that was there is replaced.

        Args:
            key: What it is good for.
            plan: The serialised engine.
            record: How it was built.

        Raises:
            BackendUnavailable: It cannot be written; nothing of it stays.
        """
        manifest = {
            "format": 1,
            "key": key.as_json(),
            "bytes": plan.nbytes,
            "sha256": hashlib.sha256(plan).hexdigest(),
            "record": asdict(record),
        }
        text = json.dumps(manifest, indent=2, sort_keys=True).encode()
        with storage_errors(self.root):
            stored(self.root, key.digest(), {PLAN: plan, MANIFEST: memoryview(text)})

    def why_missing(self, key: EngineKey) -> tuple[str, ...]:
        """Tell in what the nearest stored engine of the same network differs.

        Empty where there is none of that network.
        """
        found = [
            key.explain(other)
            for other in self._keys()
            if other.get("role") == key.role and other != key.as_json()
        ]
        return min(found, key=len, default=())

    def prune(self, keep_bytes: int, used: Collection[str] = ()) -> int:
        """Remove the engines not used for longest until the rest fits.

        Args:
            keep_bytes: What may stay on disk.
            used: Digests of engines that stay whatever their size.

        Returns:
            The number of engines removed.

        Raises:
            BackendUnavailable: The directory cannot be read or written.
        """
        with storage_errors(self.root):
            return pruned(self.root, keep_bytes, frozenset(used))

    def _read(self, folder: int, key: EngineKey, digest: str) -> StoredEngine:
        manifest = json.loads(read_own_file(folder, MANIFEST, _MAX_MANIFEST_BYTES))
        if manifest["key"] != key.as_json():
            raise ValueError("the key is another")
        plan = read_own_file(folder, PLAN, _MAX_PLAN_BYTES)
        sha256 = hashlib.sha256(plan).hexdigest()
        if sha256 != manifest["sha256"]:
            raise ValueError("the content was changed")
        return StoredEngine(
            directory=self.root / digest,
            digest=digest,
            plan=plan,
            sha256=sha256,
            record=BuildRecord(**manifest["record"]),
        )

    def _keys(self) -> Iterator[Mapping[str, Any]]:
        for path in sorted(self.root.glob(f"*/{MANIFEST}")):
            try:
                key = json.loads(path.read_bytes())["key"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if isinstance(key, dict):
                yield key
