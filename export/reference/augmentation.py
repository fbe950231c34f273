"""Random changes of frames, on the device that holds them.

Every draw follows from a seed and the step, so that a resumed training sees what an
uninterrupted one would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Generator, Tensor
from torch.nn import functional

from spinert.export.reference.frames import NO_BOX, Frames
from spinert.export.reference.settings import Augmentation, Stage

__all__ = ["Placement", "augmented", "frames_of_step", "placed", "resized"]

_MARGIN: Final = 0.1
"""Of a window's edge: as far inside lies the centre of the lesion that it shows."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where each output pixel is taken from: x_in = step * x_out + start, and y."""

    step: Tensor
    """float32 (N,2), source pixels per output pixel: down, across."""
    start: Tensor
    """float32 (N,2), source position of the output's first edge."""
    mirrored: Tensor
    """bool (N,): the source is mirrored left to right before."""
    sizes: Tensor
    """int32 (N,2), valid (height, width) of the output."""
    edge_px: int
    """Of the output's canvas."""


def frames_of_step(count: int, *, seed: int, first: int, batch: int) -> Tensor:
    """Return which frames a step sees, int64 (batch,).

    Every frame once, in an order of its own for each round.

    Args:
        count: Of frames.
        seed: Of the orders.
        first: How many frames earlier steps have seen.
        batch: How many this one sees.
    """
    places = torch.arange(first, first + batch)
    rounds = torch.div(places, count, rounding_mode="floor")
    chosen = torch.empty_like(places)
    for number in rounds.unique().tolist():
        generator = Generator().manual_seed(seed * 1_000_003 + number)
        order = torch.randperm(count, generator=generator)
        here = rounds == number
        chosen[here] = order[places[here] - number * count]
    return chosen


def resized(frames: Frames, edge_px: int) -> Frames:
    """Scale frames to a smaller canvas, antialiased.

    Returns:
        float32 frames of `edge_px`; those that have it are returned as they are.
    """
    if frames.edge_px == edge_px:
        return frames
    scale = edge_px / frames.edge_px
    images = functional.interpolate(
        frames.images.float(),
        size=(edge_px, edge_px),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    return replace(
        frames,
        images=images,
        sizes=(frames.sizes * scale).int().clamp(min=1),
        boxes=frames.boxes * scale,
    )


def _uniform(shape: tuple[int, ...], low: float, high: float, g: Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=g)


def _lesions(frames: Frames, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw one lesion of each frame.

    Returns:
        Its centre, float32 (N,2), y and x; and bool (N,), false where there is none.
    """
    real = frames.labels.cpu() != NO_BOX
    drawn = torch.rand(real.shape, generator=generator).masked_fill(~real, -1.0)
    row = drawn.argmax(dim=1)
    box = frames.boxes.cpu()[torch.arange(frames.count), row]
    return ((box[:, :2] + box[:, 2:]) / 2).flip(1), real.any(dim=1)


def _aimed(
    start: Tensor, reach: Tensor, centre: Tensor, valid: Tensor, place: Tensor
) -> Tensor:
    """Move windows onto points, and no further beyond the image than they must.

    Args:
        start: float32 (N,2), where windows begin otherwise.
        reach: float32 (N,2), their extent in source pixels.
        centre: float32 (N,2), what they are to hold.
        valid: float32 (N,2), extent of the image.
        place: float32 (N,2), from 0 to 1: where in the window the point is to lie.
    """
    wanted = centre - reach * (_MARGIN + (1 - 2 * _MARGIN) * place)
    inside = torch.minimum(wanted.clamp(min=0), (valid - reach).clamp(min=0))
    return torch.where(valid > reach, inside, start)


def placements(
    frames: Frames,
    settings: Augmentation,
    generator: Generator,
    *,
    fills: bool,
    stage: Stage | None = None,
) -> Placement:
    """Draw where outputs are taken from.

    Args:
        frames: Of which sizes and boxes matter.
        settings: The ranges.
        generator: Of the CPU.
        fills: The whole canvas is valid, as a classifier's is: where the image ends,
            its border goes on. Else what is left of it is placed top left.
        stage: Says whether windows are cut, and how many have to hold a lesion; None:
            whole frames.
    """
    edge = float(frames.edge_px if stage is None else stage.seen_px)
    count = frames.count
    low, high = settings.scale
    scale = _uniform((count, 1), low, high, generator)
    stretch = _uniform((count, 2), -settings.stretch, settings.stretch, generator)
    step = (1 + stretch) / scale
    step[torch.rand(count, generator=generator) < settings.untouched] = 1.0
    place = torch.rand((count, 2), generator=generator)
    mirrored = torch.rand(count, generator=generator) < settings.flip
    valid = frames.sizes.cpu().float()
    extent = (valid / step).clamp(max=edge).floor().clamp(min=1)
    if fills:
        extent = torch.full_like(extent, edge)
    start = place * (valid - extent * step)
    if stage is not None and stage.window_px:
        centre, has_lesion = _lesions(frames, generator)
        across = torch.where(mirrored, valid[:, 1] - centre[:, 1], centre[:, 1])
        centre = torch.stack((centre[:, 0], across), dim=1)
        aim = torch.rand(count, generator=generator) < stage.lesion_share
        aimed = _aimed(start, extent * step, centre, valid, place)
        start = torch.where((aim & has_lesion)[:, None], aimed, start)
    device = frames.images.device
    return Placement(
        step=step.to(device),
        start=start.to(device),
        mirrored=mirrored.to(device),
        sizes=extent.int().to(device),
        edge_px=int(edge),
    )


def _sampled(frames: Frames, placement: Placement) -> Tensor:
    """Interpolate bilinearly; beyond the image its border goes on."""
    edge, seen = frames.edge_px, placement.edge_px
    out = torch.arange(seen, device=frames.images.device) + 0.5
    down = placement.start[:, :1] + out * placement.step[:, :1]
    across = placement.start[:, 1:] + out * placement.step[:, 1:]
    height, width = frames.sizes[:, :1].float(), frames.sizes[:, 1:].float()
    across = torch.where(placement.mirrored[:, None], width - across, across)
    # Half a pixel inside, nothing of what lies beyond the image is mixed in.
    across = torch.minimum(across.clamp(min=0.5), width - 0.5)
    down = torch.minimum(down.clamp(min=0.5), height - 0.5)
    shape = (frames.count, seen, seen)
    grid = torch.stack(
        (
            (2 * across / edge - 1)[:, None].expand(shape),
            (2 * down / edge - 1)[:, :, None].expand(shape),
        ),
        dim=-1,
    )
    return functional.grid_sample(
        frames.images, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def _moved_boxes(
    frames: Frames, placement: Placement, visible_share: float
) -> tuple[Tensor, Tensor]:
    """Move boxes along, cut them, and drop those of which little is left."""
    x_min, y_min, x_max, y_max = frames.boxes.unbind(-1)
    width = frames.sizes[:, 1:].float()
    mirrored = placement.mirrored[:, None]
    x_min, x_max = (
        torch.where(mirrored, width - x_max, x_min),
        torch.where(mirrored, width - x_min, x_max),
    )
    start = placement.start.flip(1).repeat(1, 2)[:, None]
    step = placement.step.flip(1).repeat(1, 2)[:, None]
    whole = (torch.stack((x_min, y_min, x_max, y_max), dim=-1) - start) / step
    bounds = placement.sizes.flip(1).repeat(1, 2)[:, None].float()
    cut = torch.minimum(whole.clamp(min=0), bounds)
    left = (cut[..., 2:] - cut[..., :2]).prod(-1)
    full = (whole[..., 2:] - whole[..., :2]).prod(-1)
    gone = left < visible_share * full
    return cut, frames.labels.masked_fill(gone, NO_BOX)


def placed(frames: Frames, placement: Placement, visible_share: float = 0.0) -> Frames:
    """Return float32 frames taken from others as a placement says.

    Args:
        frames: float32.
        placement: Where from.
        visible_share: Boxes of which less is left are dropped.
    """
    boxes, labels = _moved_boxes(frames, placement, visible_share)
    return replace(
        frames,
        images=_sampled(frames, placement),
        sizes=placement.sizes,
        boxes=boxes,
        labels=labels,
    )


def _shaded(images: Tensor, settings: Augmentation, generator: Generator) -> Tensor:
    """Change grey values: gamma, contrast, brightness, noise."""
    count, device = images.shape[0], images.device

    def drawn(low: float, high: float) -> Tensor:
        return _uniform((count, 1, 1, 1), low, high, generator).to(device)

    exponent = torch.exp(drawn(-settings.gamma, settings.gamma))
    contrast = 1 + drawn(-settings.contrast, settings.contrast)
    brightness = drawn(-settings.brightness, settings.brightness)
    deviation = drawn(0.0, settings.noise)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    own = Generator(device).manual_seed(seed)
    noise = torch.randn(images.shape, generator=own, device=device)
    values = (images / 255).clamp(0, 1) ** exponent
    values = (values - 0.5) * contrast + 0.5 + brightness + noise * deviation
    return values.clamp(0, 1) * 255


def augmented(
    frames: Frames,
    settings: Augmentation,
    generator: Generator,
    *,
    fills: bool,
    stage: Stage | None = None,
    visible_share: float = 0.0,
) -> Frames:
    """Change geometry and grey values of float32 frames at random.

    Args:
        frames: On any device.
        settings: How much.
        generator: Of the CPU; decides everything.
        fills: As in `placements`.
        stage: As in `placements`.
        visible_share: As in `placed`.
    """
    placement = placements(frames, settings, generator, fills=fills, stage=stage)
    moved = placed(frames, placement, visible_share)
    return replace(moved, images=_shaded(moved.images, settings, generator))
