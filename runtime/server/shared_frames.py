"""Frames whose bytes lie in shared memory."""

from __future__ import annotations

from spinert.runtime.errors import ProtocolViolation, Reason
from spinert.runtime.frame import Payload
from spinert.runtime.server.peer_regions import PeerRegions
from spinert.runtime.server.wire import ReceivedFrame

__all__ = ["payload_from_received"]


def payload_from_received(regions: PeerRegions, received: ReceivedFrame) -> Payload:
    """Return the bytes of a frame: those of the message, or lent ones.

    Raises:
        RegionRefused: As PeerRegions.lend.
        ProtocolViolation: Bytes in the message and in shared memory.
    """
    frame = received.frame
    if not frame.HasField("shared"):
        return received.payload
    if received.payload:
        raise ProtocolViolation(
            Reason.MALFORMED_MESSAGE,
            "the frame has bytes in the message and in shared memory; send one",
        )
    shared = frame.shared
    return regions.lend(shared.region, shared.offset, shared.length)
