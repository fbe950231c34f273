"""What each layer of a network takes, where the backend can tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from spinert.bench.frames import LoadFrame
from spinert.bench.pipeline import Networks
from spinert.runtime.backends.profiled import LayerTime, ProfiledBackend

__all__ = ["layers_of", "layers_told"]

_MOST: Final = 12
_OTHERS: Final = "others"
_MAX_NAME: Final = 48


def layers_of(networks: Networks, frame: LoadFrame, runs: int) -> list[dict[str, Any]]:
    """Return the layers of every network by their time; empty: not known."""
    backend = networks.backend
    if not isinstance(backend, ProfiledBackend):
        return []
    return [
        {"network": role, **layers_told(backend.layer_times(role, fed, runs))}
        for role, fed in networks.inputs(frame).items()
    ]


def layers_told(times: Sequence[LayerTime]) -> dict[str, Any]:
    """Return the layers that take most, and all others together."""
    by_time = sorted(times, key=lambda layer: layer.duration_ms, reverse=True)
    shown, rest = by_time[:_MOST], by_time[_MOST:]
    total_ms = sum(layer.duration_ms for layer in times)
    told = [(_short(layer.name), layer.count, layer.duration_ms) for layer in shown]
    if rest:
        rest_ms = sum(layer.duration_ms for layer in rest)
        told.append((_OTHERS, sum(layer.count for layer in rest), rest_ms))
    return {
        "total_ms": total_ms,
        "layers": [
            {
                "operator": name,
                "nodes": count,
                "ms": duration_ms,
                "share": duration_ms / total_ms if total_ms else 0.0,
            }
            for name, count, duration_ms in told
        ],
    }


def _short(name: str) -> str:
    """Return `name` without its middle: a fused layer lists all it was made of."""
    half = _MAX_NAME // 2
    return name if len(name) <= _MAX_NAME else f"{name[:half]}...{name[-half:]}"
