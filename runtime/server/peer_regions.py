"""Shared memory for one peer."""

from __future__ import annotations

from spinert.runtime.frame import Buffer, Lent
from spinert.runtime.server.region_rules import refuse_remote
from spinert.runtime.server.regions import Regions

__all__ = ["PeerRegions"]


class PeerRegions:
    """The regions of a server as one of its peers may use them.

    Every method raises RegionRefused, SHARED_MEMORY_NOT_LOCAL, for a peer of another
    machine, besides what Regions raises.
    """

    def __init__(self, regions: Regions, peer: str) -> None:
        """Hold `peer`, named as gRPC does, to what it may."""
        self._regions = regions
        self._peer = peer

    def local(self) -> Regions:
        """Return the regions themselves."""
        refuse_remote(self._peer)
        return self._regions

    def lend(self, name: str, offset: int, length: int) -> Lent:
        """Return a part of a region, to be read where it is needed."""
        return self.local().lend(name, offset, length)

    def write(self, name: str, offset: int, data: Buffer) -> None:
        """Copy `data` to `offset` of a region."""
        self.local().write(name, offset, data)

    def refuse_unwritable(self, name: str, offset: int, length: int) -> None:
        """Say now what `write` would say of `length` bytes."""
        self.local().refuse_unwritable(name, offset, length)
