"""Calls about shared memory, as the protocol has them."""

from __future__ import annotations

from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.errors import Reason, RegionRefused
from spinert.runtime.server.regions import Regions

__all__ = ["register_region", "status_of_regions", "unregister_region"]


def status_of_regions(
    regions: Regions, request: oip.SystemSharedMemoryStatusRequest
) -> oip.SystemSharedMemoryStatusResponse:
    """Describe one region, or all.

    Raises:
        RegionRefused: REGION_UNKNOWN, or as Regions.status.
    """
    response = oip.SystemSharedMemoryStatusResponse()
    for span in regions.status():
        if request.name in ("", span.name):
            told = response.regions[span.name]
            told.name, told.key = span.name, span.key
            told.offset, told.byte_size = span.offset, span.length
    if request.name and not response.regions:
        raise RegionRefused(
            Reason.REGION_UNKNOWN, "no region of this name: register it first"
        )
    return response


def register_region(
    regions: Regions, request: oip.SystemSharedMemoryRegisterRequest
) -> oip.SystemSharedMemoryRegisterResponse:
    """Register a region; errors as for Regions.register."""
    regions.register(request.name, request.key, request.offset, request.byte_size)
    return oip.SystemSharedMemoryRegisterResponse()


def unregister_region(
    regions: Regions, request: oip.SystemSharedMemoryUnregisterRequest
) -> oip.SystemSharedMemoryUnregisterResponse:
    """Forget a region, or all; an unknown one is ignored."""
    if request.name:
        regions.unregister(request.name)
    else:
        regions.unregister_all()
    return oip.SystemSharedMemoryUnregisterResponse()
