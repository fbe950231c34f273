"""What is refused before any pixel work, by what a frame claims about itself.

All sizes are Python integers, so nothing overflows. Sources: reliability findings
on tiny files that expand to gigabytes (RLE, deflate, dimension lies).
"""

from __future__ import annotations

from dataclasses import dataclass

from spinert.runtime.config import DecodeSettings
from spinert.runtime.errors import FrameTooCostly, MalformedFrame, Reason

__all__ = [
    "PixelLayout",
    "refuse_costly",
    "refuse_implausible_compression",
    "refuse_wrong_length",
]

_MAX_COMPRESSION = 300
"""No useful radiograph compresses further; RLE cannot exceed 64."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelLayout:
    """The Image Pixel Module of one grey frame, PS3.3 C.7.6.3."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    is_signed: bool

    @property
    def n_bytes(self) -> int:
        """Size of the uncompressed pixels."""
        return self.rows * self.columns * (self.bits_allocated // 8)


def refuse_costly(layout: PixelLayout, settings: DecodeSettings) -> None:
    """Refuse images with too few, too many or too large pixels.

    Raises:
        FrameTooCostly: DIMENSIONS_OUT_OF_RANGE or DECOMPRESSION_BOMB.
    """
    low, high = settings.min_edge_px, settings.max_edge_px
    if not (low <= layout.rows <= high and low <= layout.columns <= high):
        raise FrameTooCostly(
            Reason.DIMENSIONS_OUT_OF_RANGE,
            f"the image is {layout.rows} x {layout.columns} pixels; this server takes "
            f"edges of {low} to {high} (decode.min_edge_px, decode.max_edge_px)",
        )
    if layout.n_bytes > settings.max_pixel_mib * 2**20:
        raise FrameTooCostly(
            Reason.DECOMPRESSION_BOMB,
            f"the image would take {layout.n_bytes >> 20} MiB; this server decodes up "
            f"to {settings.max_pixel_mib} MiB (decode.max_pixel_mib)",
        )


def refuse_wrong_length(length: int, available: int, layout: PixelLayout) -> None:
    """Refuse native pixel data that are not as long as the dimensions say.

    Args:
        length: Of the value, as its element says; one pad byte may make it even.
        available: Bytes of it that are in the file.
        layout: What the dimensions say.

    Raises:
        MalformedFrame: PIXEL_DATA_LENGTH.
    """
    padded = layout.n_bytes + layout.n_bytes % 2
    if available < layout.n_bytes:
        length = available
    if length not in (layout.n_bytes, padded):
        raise MalformedFrame(
            Reason.PIXEL_DATA_LENGTH,
            f"the pixel data have {length} bytes where "
            f"{layout.rows} x {layout.columns} pixels take {layout.n_bytes}; "
            "the file may be truncated",
        )


def refuse_implausible_compression(n_compressed: int, layout: PixelLayout) -> None:
    """Refuse compressed pixels far too short for the dimensions they claim.

    Raises:
        FrameTooCostly: DECOMPRESSION_BOMB.
    """
    if n_compressed * _MAX_COMPRESSION < layout.n_bytes:
        raise FrameTooCostly(
            Reason.DECOMPRESSION_BOMB,
            f"{n_compressed} compressed bytes cannot hold a radiograph of "
            f"{layout.rows} x {layout.columns} pixels",
        )
