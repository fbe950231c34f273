"""Stored values to a network's uint8 input, written for clearness, not for speed.

The twin of the runtime's implementation: the golden set holds the SHA-256 of what
this computes, and the runtime must arrive at the same bytes on its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from spinert.proto import bundle_pb2 as pb

__all__ = ["NetworkFrame", "grey_from_stored", "network_frame"]

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class NetworkFrame:
    """One frame as one network receives it."""

    image: Grey
    """uint8 (1,H,W), zeros beyond the valid area."""
    height: int
    """Of the valid area."""
    width: int

    @property
    def size(self) -> npt.NDArray[np.int32]:
        """The `image_size` input of this frame, int32 (2,)."""
        return np.array([self.height, self.width], dtype=np.int32)


def grey_from_stored(
    stored: npt.NDArray[np.uint16], *, is_monochrome1: bool, rule: pb.GreyRule
) -> Grey:
    """Stretch to 0..255 as the official dicom2png.py does, for images without VOI.

    Args:
        stored: uint16 (rows, columns), not constant.
        is_monochrome1: Low values are bright; inverted if the rule says so.
        rule: The bundle's.
    """
    values = stored.astype(np.float64)
    if is_monochrome1 and rule.invert_monochrome1:
        values = values.max() - values
    values = values - values.min()
    values = values / values.max()
    grey: Grey = (values * 255).astype(np.uint8)
    return grey


def _resized(grey: Grey, height: int, width: int) -> Grey:
    """Resample with Pillow's antialiased bilinear filter, horizontal pass first.

    Two calls fix the order of the passes, which Pillow 13 chooses itself.
    """
    image = Image.fromarray(grey)
    image = image.resize((width, grey.shape[0]), Image.Resampling.BILINEAR)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _padded_to(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _shortest_edge(rows: int, columns: int, edge: pb.ShortestEdge) -> tuple[int, int]:
    """Return (height, width) as detectron2's ResizeShortestEdge.get_output_shape."""
    scale = edge.short_edge / min(rows, columns)
    height, width = (
        (float(edge.short_edge), scale * columns)
        if rows < columns
        else (scale * rows, float(edge.short_edge))
    )
    if max(height, width) > edge.max_long_edge:
        shrink = edge.max_long_edge / max(height, width)
        height, width = height * shrink, width * shrink
    return int(height + 0.5), int(width + 0.5)


def _letterbox(rows: int, columns: int, box: pb.Letterbox) -> tuple[int, int]:
    """Return (height, width) of the scaled image, truncated as effdet's ResizePad."""
    scale = min(box.height / rows, box.width / columns)
    return max(1, int(rows * scale)), max(1, int(columns * scale))


def network_frame(grey: Grey, canvas: pb.CanvasPolicy) -> NetworkFrame:
    """Resize and pad a grey image, uint8 (rows, columns), as the policy says."""
    rows, columns = grey.shape
    kind = canvas.WhichOneof("kind")
    if kind == "fixed":
        height, width = canvas.fixed.height, canvas.fixed.width
        padded = (height, width)
    elif kind == "letterbox":
        height, width = _letterbox(rows, columns, canvas.letterbox)
        padded = (canvas.letterbox.height, canvas.letterbox.width)
    elif kind == "shortest_edge":
        height, width = _shortest_edge(rows, columns, canvas.shortest_edge)
        multiple = canvas.shortest_edge.pad_multiple
        padded = (_padded_to(height, multiple), _padded_to(width, multiple))
    else:
        height, width = rows, columns
        multiple = canvas.native.pad_multiple
        padded = (_padded_to(height, multiple), _padded_to(width, multiple))
    image = np.zeros((1, *padded), dtype=np.uint8)
    image[0, :height, :width] = _resized(grey, height, width)
    return NetworkFrame(image=image, height=height, width=width)
