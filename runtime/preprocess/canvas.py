"""How large an image becomes before a network sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spinert.proto import bundle_pb2
from spinert.runtime.errors import BundleError, Reason

__all__ = ["Placement", "placement"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """The resized image, top left on a canvas whose rest is filled. Pixels."""

    valid_height: int
    valid_width: int
    height: int
    width: int
    rows_per_pixel: float
    """Original rows per network pixel, by which boxes are scaled back."""
    columns_per_pixel: float

    def enlarges(self, rows: int, columns: int) -> bool:
        """Tell whether an image of `rows` x `columns` has to be blown up."""
        return rows < self.valid_height or columns < self.valid_width


def placement(rows: int, columns: int, canvas: bundle_pb2.CanvasPolicy) -> Placement:
    """Place an image of `rows` x `columns` pixels as `canvas` says.

    Raises:
        BundleError: The canvas names no policy.
    """
    match canvas.WhichOneof("kind"):
        case "fixed":
            valid = canvas.fixed.height, canvas.fixed.width
            return _padded(rows, columns, valid, 1)
        case "letterbox":
            return _letterboxed(rows, columns, canvas.letterbox)
        case "shortest_edge":
            edge = canvas.shortest_edge
            valid = _shortest_edge_size(rows, columns, edge)
            return _padded(rows, columns, valid, edge.pad_multiple)
        case "native":
            valid = rows, columns
            return _padded(rows, columns, valid, canvas.native.pad_multiple)
        case _:
            raise BundleError(
                Reason.BUNDLE_INVALID,
                "a network's canvas names no policy; export the bundle again",
            )


def _letterboxed(rows: int, columns: int, box: bundle_pb2.Letterbox) -> Placement:
    """Scale to fit, as `ResizePad` of effdet 0.4.1 does: sizes are truncated.

    Its `img_scale`, by which boxes go back, is one over the scale all the same.
    """
    scale = min(box.height / rows, box.width / columns)
    return Placement(
        valid_height=max(1, int(rows * scale)),
        valid_width=max(1, int(columns * scale)),
        height=box.height,
        width=box.width,
        rows_per_pixel=1 / scale,
        columns_per_pixel=1 / scale,
    )


def _shortest_edge_size(
    rows: int, columns: int, edge: bundle_pb2.ShortestEdge
) -> tuple[int, int]:
    """Follow the framework that `edge.rounding` stands for, float by float.

    An edge never becomes 0, which detectron2 would allow for extreme shapes and
    torchvision would refuse.
    """
    if edge.rounding == bundle_pb2.ROUND_DOWN:
        return _floored(rows, columns, edge)
    return _rounded_half_up(rows, columns, edge)


def _floored(rows: int, columns: int, edge: bundle_pb2.ShortestEdge) -> tuple[int, int]:
    """Follow torchvision 0.28 `_resize_image_and_masks`, outside of tracing.

    Its sizes are those of `interpolate(recompute_scale_factor=True)`: the floor of
    a float64 product, so that an edge may end one pixel below `short_edge`.
    """
    scale = min(
        edge.short_edge / min(rows, columns), edge.max_long_edge / max(rows, columns)
    )
    return max(1, math.floor(rows * scale)), max(1, math.floor(columns * scale))


def _rounded_half_up(
    rows: int, columns: int, edge: bundle_pb2.ShortestEdge
) -> tuple[int, int]:
    """Follow detectron2 `ResizeShortestEdge.get_output_shape`."""
    scale = edge.short_edge * 1.0 / min(rows, columns)
    if rows < columns:
        height, width = edge.short_edge * 1.0, scale * columns
    else:
        height, width = scale * rows, edge.short_edge * 1.0
    if max(height, width) > edge.max_long_edge:
        scale = edge.max_long_edge * 1.0 / max(height, width)
        height, width = height * scale, width * scale
    return max(1, int(height + 0.5)), max(1, int(width + 0.5))


def _padded(
    rows: int, columns: int, valid: tuple[int, int], multiple: int
) -> Placement:
    """Pad to a multiple; boxes are scaled back by the ratio of whole sizes.

    So do detectron2 `detector_postprocess` and torchvision `resize_boxes`.
    """
    step = max(1, multiple)
    height, width = valid
    return Placement(
        valid_height=height,
        valid_width=width,
        height=-(-height // step) * step,
        width=-(-width // step) * step,
        rows_per_pixel=rows / height,
        columns_per_pixel=columns / width,
    )
