"""From attenuation to stored values: beam, scatter, detector and console."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinert.phantom.plan import Exposure, Plan
from spinert.phantom.raster import Grid, resized, smoothed
from spinert.phantom.truth import Window

__all__ = ["Stored", "stored_from_attenuation"]

_AIR_OVER_DOSE = 1.9
"""The tone curve ends this far (natural logarithm) above the median dose: air."""
_BRIGHTEST_SOURCE = 2.5
"""Scatter comes from the body; free air does not add to it beyond this dose."""
_CONSOLE_MM = 2.5
"""Grid on which the console finds low frequencies."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a console sends."""

    pixels: NDArray[np.uint16]
    window: Window | None


def stored_from_attenuation(
    attenuation: NDArray[np.float32], plan: Plan, grid: Grid
) -> Stored:
    """Return stored values (rows, columns) for a map of attenuation.

    Args:
        attenuation: Line integrals, natural logarithm.
        plan: Its exposure and field are used.
        grid: The pixels of the detector.
    """
    rng = np.random.default_rng([plan.noise_seed, 41])
    exposure = plan.exposure
    beam, shutter = _beam(plan, grid)
    signal = _with_scatter(np.exp(-attenuation) * beam, exposure, grid)
    inside = _inside(plan, grid)
    density = np.log(np.maximum(signal, np.float32(1e-9)))
    density -= np.float32(np.median(density[inside][::5, ::5]))
    np.clip(density, np.float32(-6.0), np.float32(_AIR_OVER_DOSE), out=density)
    density += _noise(density, plan, rng)
    body = density[inside][::7, ::7] < _AIR_OVER_DOSE - 0.25
    bright = _processed(density, exposure, grid)
    shown = bright[inside][::7, ::7][body]
    return _console(bright, shown, shutter, exposure)


def _inside(plan: Plan, grid: Grid) -> tuple[slice, slice]:
    left, top, right, bottom = plan.field.margins_mm
    dx, dy = grid.step_mm
    return (
        slice(round(top / dy), grid.rows - round(bottom / dy)),
        slice(round(left / dx), grid.columns - round(right / dx)),
    )


def _beam(
    plan: Plan, grid: Grid
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return the relative dose of the free beam, and the shutter where there is one."""
    left, top, right, bottom = plan.field.margins_mm
    x = (np.arange(grid.columns, dtype=np.float32) + 0.5) * np.float32(grid.step_mm[0])
    y = (np.arange(grid.rows, dtype=np.float32) + 0.5) * np.float32(grid.step_mm[1])
    across = np.minimum(_edge(x, left), _edge(x[::-1], right)[::-1])
    down = np.minimum(_edge(y, top), _edge(y[::-1], bottom)[::-1])
    fall = 1.0 + plan.exposure.heel * np.linspace(
        0.5, -0.5, grid.rows, dtype=np.float32
    )
    open_beam = down[:, None] * across[None, :]
    leak = np.float32(0.015)
    beam = (leak + (1 - leak) * open_beam) * fall[:, None]
    shutter = None
    if plan.exposure.shuttered and any((left, top, right, bottom)):
        shutter = np.asarray(np.clip(2 * open_beam - 1, 0, 1), np.float32)
    return np.asarray(beam, np.float32), shutter


def _edge(distance_mm: NDArray[np.float32], margin_mm: float) -> NDArray[np.float32]:
    """Return the shadow of one blade: 0 behind it, 1 in the beam, 1.5 mm between."""
    if margin_mm <= 0:
        return np.ones_like(distance_mm)
    position = (distance_mm - np.float32(margin_mm)) * np.float32(1 / 1.5)
    return np.asarray(np.clip(position + 0.5, 0.0, 1.0), np.float32)


def _with_scatter(
    primary: NDArray[np.float32], exposure: Exposure, grid: Grid
) -> NDArray[np.float32]:
    coarse = _reduced(primary, grid.coarser(4.0))
    np.minimum(coarse, _BRIGHTEST_SOURCE * np.median(coarse), out=coarse)
    primary += resized(smoothed(coarse, 9.0), grid) * np.float32(exposure.scatter)
    return primary


def _reduced(values: NDArray[np.float32], coarse: Grid) -> NDArray[np.float32]:
    """Return means over the pixels of a coarser grid."""
    rows = np.linspace(0, values.shape[0], coarse.rows, endpoint=False).astype(int)
    columns = np.linspace(0, values.shape[1], coarse.columns, endpoint=False)
    total = np.add.reduceat(values, rows, axis=0)
    total = np.add.reduceat(total, columns.astype(int), axis=1)
    tall = np.diff(np.append(rows, values.shape[0]))[:, None]
    wide = np.diff(np.append(columns.astype(int), values.shape[1]))[None, :]
    return np.asarray(total / (tall * wide), np.float32)


def _noise(
    density: NDArray[np.float32], plan: Plan, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return quantum noise: larger where fewer quanta arrive, smaller in big pixels."""
    amplitude = plan.exposure.noise * 0.2 / plan.spacing_mm
    noise = rng.standard_normal(density.shape, np.float32)
    share = np.float32(min(0.45, 0.3 * plan.exposure.blur_mm / plan.spacing_mm))
    # The detector spreads each quantum over its neighbours.
    noise[1:] += share * noise[:-1]
    noise[:, 1:] += share * noise[:, :-1]
    noise *= np.exp(density * np.float32(-0.5))
    noise *= np.float32(amplitude)
    return noise


def _processed(
    density: NDArray[np.float32], exposure: Exposure, grid: Grid
) -> NDArray[np.float32]:
    """Return brightness: bone bright, large differences reduced, details raised.

    The map of density is overwritten.
    """
    coarse = _reduced(density, grid.coarser(_CONSOLE_MM))
    large = smoothed(coarse, 22.0 / _CONSOLE_MM) * np.float32(exposure.equalisation)
    middle = smoothed(coarse, 5.0 / _CONSOLE_MM) * np.float32(exposure.detail)
    density *= np.float32(-1.0 - exposure.detail)
    density += resized(large + middle, grid)
    return density


def _console(
    bright: NDArray[np.float32],
    shown: NDArray[np.float32],
    shutter: NDArray[np.float32] | None,
    exposure: Exposure,
) -> Stored:
    """Return stored values: tone curve, range, polarity and window.

    `shown` holds samples of the body: their range fills the tone curve.
    """
    low, most_bone = np.percentile(shown, (3.0, 96.0))
    high = most_bone + 0.35 * (most_bone - low)  # metal saturates
    tone = (bright - np.float32(low)) * np.float32(1 / max(high - low, 1e-3))
    np.clip(tone, -0.02, 1.15, out=tone)
    tone = (tone + np.float32(0.02)) * np.float32(1 / 1.17)
    tone **= np.float32(exposure.gamma)
    if shutter is not None:
        tone *= shutter
    most = 2**exposure.bits_stored - 1
    # With a window the values use a part of the range, as raw exports do.
    start, span = (0.12 * most, 0.6 * most) if exposure.windowed else (0.0, 1.0 * most)
    if exposure.inverted:
        np.subtract(1.0, tone, out=tone)
    stored = np.clip(np.rint(tone * np.float32(span) + np.float32(start)), 0, most)
    window = Window(center=float(round(start + span / 2)), width=float(round(span)))
    return Stored(
        pixels=stored.astype(np.uint16), window=window if exposure.windowed else None
    )
