"""Registered shared memory: frames are read from it, KServe outputs written to it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from spinert.runtime.errors import Reason, RegionRefused, RegionTaken
from spinert.runtime.frame import Buffer
from spinert.runtime.server.region_objects import LentSpan, SharedObject
from spinert.runtime.server.region_rules import (
    RegionLimits,
    RegionSpan,
    checked_span,
    file_name_from_key,
    refuse_object,
    refuse_short,
)
from spinert.runtime.server.span_reader import SpanReader

__all__ = ["Regions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Region:
    span: RegionSpan
    memory: SharedObject


class Regions:
    """The registered regions of a server; safe for any thread.

    Names are common to all clients, so whoever may connect may use any region.
    Close it when frames have ended.
    """

    def __init__(self, limits: RegionLimits, directory: str = "/dev/shm") -> None:
        """Start without regions; `directory` is where shm_open has its objects."""
        self._limits = limits
        self._directory = directory
        self._regions: dict[str, _Region] = {}
        self._lock = threading.Lock()
        self._reader = SpanReader()

    def close(self) -> None:
        """Forget all regions; what is still lent can be fetched."""
        self._forget(None)
        self._reader.close()

    def register(self, name: str, key: str, offset: int, length: int) -> None:
        """Let frames be read from `length` bytes at `offset` of an object.

        Args:
            name: The client's name for it, 1 to 128 bytes.
            key: Of the object, as for shm_open: a slash and a name.
            offset: Where the region begins in the object.
            length: Of the region, in bytes.

        Raises:
            RegionRefused: SHARED_MEMORY_OFF, REGION_INVALID, REGION_TAKEN,
                REGION_TOO_LARGE, TOO_MANY_REGIONS, or SHARED_MEMORY_MISSING,
                _FORBIDDEN or _TOO_SMALL.
            Unavailable: The server is short of open files.
        """
        self._refuse_off()
        span = RegionSpan(name=name, key=key, offset=offset, length=length)
        checked_span(span, self._limits)
        memory = SharedObject(self._directory, file_name_from_key(key))
        try:
            refuse_object(memory.state(), span, self._limits)
            self._add(_Region(span=span, memory=memory))
        except RegionRefused:
            # Now: the error's traceback would keep it open.
            memory.close()
            raise

    def unregister(self, name: str) -> None:
        """Forget a region; an unknown one is ignored. Frames in flight are finished.

        Raises:
            RegionRefused: SHARED_MEMORY_OFF.
        """
        self._refuse_off()
        self._forget(name)

    def unregister_all(self) -> None:
        """Forget all regions.

        Raises:
            RegionRefused: SHARED_MEMORY_OFF.
        """
        self._refuse_off()
        self._forget(None)

    def status(self) -> tuple[RegionSpan, ...]:
        """Return what is registered, by name.

        Raises:
            RegionRefused: SHARED_MEMORY_OFF.
        """
        self._refuse_off()
        with self._lock:
            spans = [region.span for region in self._regions.values()]
        return tuple(sorted(spans, key=lambda span: span.name))

    def lend(self, name: str, offset: int, length: int) -> LentSpan:
        """Return a part of a region, to be read where it is needed.

        Args:
            name: Of the region.
            offset: In the region.
            length: In bytes.

        Raises:
            RegionRefused: SHARED_MEMORY_OFF, REGION_UNKNOWN, REGION_INVALID,
                SHARED_MEMORY_TOO_SMALL or REGION_TOO_LARGE.
        """
        region = self._found(name, offset, length)
        if length > self._limits.max_frame_bytes:
            raise RegionRefused(
                Reason.REGION_TOO_LARGE,
                f"the frame has {length} bytes and {self._limits.max_frame_bytes} are "
                "allowed (server.max_message_mib)",
            )
        return LentSpan(
            region.memory, region.span.offset + offset, length, self._reader
        )

    def read(self, name: str, offset: int, length: int) -> Buffer:
        """Copy a part of a region; arguments and errors as for `lend` and `fetch`."""
        return self.lend(name, offset, length).fetch()

    def write(self, name: str, offset: int, data: Buffer) -> None:
        """Copy `data`, which may be empty, to `offset` of a region.

        Raises:
            RegionRefused: SHARED_MEMORY_OFF, REGION_UNKNOWN, REGION_INVALID,
                SHARED_MEMORY_TOO_SMALL, _READ_ONLY or _TRUNCATED.
            Unavailable: The system cannot write now.
        """
        content = memoryview(data).cast("B")
        # An answer without findings has none to write, and is no error.
        region = self._found(name, offset, max(1, len(content)))
        region.memory.write(region.span.offset + offset, content)

    def refuse_unwritable(self, name: str, offset: int, length: int) -> None:
        """Raise what `write` would raise for `length` bytes now."""
        region = self._found(name, offset, max(1, length))
        region.memory.refuse_unwritable(region.span.offset + offset, length)

    def _refuse_off(self) -> None:
        if not self._limits.is_on:
            raise RegionRefused(
                Reason.SHARED_MEMORY_OFF,
                "this server does not use shared memory: send the pixels in the "
                "message, or set server.shared_memory",
            )

    def _add(self, region: _Region) -> None:
        name = region.span.name
        with self._lock:
            if name in self._regions:
                raise RegionTaken(
                    Reason.REGION_TAKEN,
                    "a region of this name is registered: unregister it first, or "
                    "use another name",
                )
            if len(self._regions) >= self._limits.max_regions:
                raise RegionRefused(
                    Reason.TOO_MANY_REGIONS,
                    f"{len(self._regions)} regions are registered: unregister some, "
                    "or raise server.max_regions",
                )
            self._regions[name] = region

    def _found(self, name: str, offset: int, length: int) -> _Region:
        self._refuse_off()
        with self._lock:
            region = self._regions.get(name)
        if region is None:
            raise RegionRefused(
                Reason.REGION_UNKNOWN, "no region of this name: register it first"
            )
        refuse_short(offset, length, region.span.length)
        return region

    def _forget(self, name: str | None) -> None:
        with self._lock:
            names = [*self._regions] if name is None else [name]
            # Kept until the lock is free: the last reference closes the object.
            gone = [self._regions.pop(name, None) for name in names]
        del gone
