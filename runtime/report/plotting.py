"""How pages draw with Matplotlib: SVG, readable on a light and on a dark page.

Its object interface on a transparent ground: nothing of its global state is used or
changed.
"""

from __future__ import annotations

import base64
import io
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spinert.runtime.report.html import Html, element, text

__all__ = [
    "COLOURS",
    "INK",
    "PLOT_STYLE",
    "plot_axes",
    "plot_figure",
    "svg_from_figure",
]

# After Okabe and Ito, without what vanishes on white or on black.
COLOURS: Final = ("#2a86c8", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK: Final = "#7b8794"
"""Grey of equal contrast to white and to a dark page."""
PLOT_STYLE: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "spinert",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.22,
    "grid.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
"""For `matplotlib.rc_context`."""
_SIZE: Final = (3.9, 3.5)


def plot_axes(width: float = _SIZE[0], height: float = _SIZE[1]) -> tuple[Figure, Axes]:
    """Return a figure of `width` x `height` inches with one plot."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def svg_from_figure(figure: Figure) -> bytes:
    """Return the SVG; the same figures make the same file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def plot_figure(svg: bytes, caption: str) -> Html:
    """Return a plot with its caption, inside the page."""
    source = base64.b64encode(svg).decode()
    image = element("img", src=f"data:image/svg+xml;base64,{source}", alt=caption)
    return element("figure", image, element("figcaption", text(caption)))
