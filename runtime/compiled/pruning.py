"""Keep the engine cache within a size."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from spinert.runtime.compiled.locking import try_lock
from spinert.runtime.compiled.storing import PLAN

__all__ = ["Kept", "pruned", "superfluous"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """An engine on disk."""

    digest: str
    bytes: int
    used_at: float
    """POSIX time, seconds."""


def superfluous(
    engines: Sequence[Kept], keep_bytes: int, protected: Collection[str]
) -> tuple[str, ...]:
    """Choose what to remove, the engines not used for longest first. Pure.

    Args:
        engines: All there are.
        keep_bytes: What may stay, in total.
        protected: Digests of engines that stay in any case.

    Returns:
        Digests, in the order of removal.
    """
    excess = sum(engine.bytes for engine in engines) - keep_bytes
    chosen = []
    for engine in sorted(engines, key=lambda engine: engine.used_at):
        if excess <= 0:
            break
        if engine.digest not in protected:
            chosen.append(engine.digest)
            excess -= engine.bytes
    return tuple(chosen)


def pruned(root: Path, keep_bytes: int, protected: Collection[str]) -> int:
    """Remove what is superfluous under `root`; return how many engines went.

    One that is being built or replaced just now is left alone. A process that reads
    one meanwhile keeps what it has open.

    Raises:
        OSError: A folder cannot be removed.
    """
    engines = [
        Kept(
            digest=plan.parent.name,
            bytes=plan.stat().st_size,
            used_at=plan.stat().st_mtime,
        )
        for plan in root.glob(f"*/{PLAN}")
        if plan.parent.suffix == ""
    ]
    removed = 0
    for digest in superfluous(engines, keep_bytes, protected):
        with try_lock(root / f"{digest}.lock") as mine:
            if mine:
                shutil.rmtree(root / digest)
                removed += 1
    return removed
