"""What was analysed, as a hash: told with every answer."""

from __future__ import annotations

import hashlib

from spinert.proto import inference_pb2 as pb
from spinert.runtime.frame import Content, RawFrame, bytes_of

__all__ = ["input_sha256"]


def input_sha256(content: Content) -> str:
    """Return the SHA-256 of a frame, in lower-case hexadecimal digits.

    Files are hashed as they are. Raw pixels mean nothing without their description,
    so it goes first: the RawImage message without its pixels, in the serialization
    of protobuf (Provenance.input_sha256 of inference.proto).
    """
    digest = hashlib.sha256()
    if isinstance(content, RawFrame):
        digest.update(_description(content).SerializeToString(deterministic=True))
    digest.update(bytes_of(content.data))
    return digest.hexdigest()


def _description(frame: RawFrame) -> pb.RawImage:
    window, rescale, spacing = frame.window, frame.rescale, frame.spacing
    return pb.RawImage(
        rows=frame.rows,
        columns=frame.columns,
        bits_stored=frame.bits_stored,
        is_signed=frame.is_signed,
        photometric_interpretation=frame.photometric.value,
        window=pb.Window(
            window_center=window.center,
            window_width=window.width,
            function=window.function.value,
        )
        if window
        else None,
        rescale=pb.Rescale(slope=rescale.slope, intercept=rescale.intercept)
        if rescale
        else None,
        spacing=pb.Spacing(row_mm=spacing.row_mm, column_mm=spacing.column_mm)
        if spacing
        else None,
    )
