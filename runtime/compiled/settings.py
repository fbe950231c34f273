"""Settings of engines, the section [engines] of the settings file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spinert.runtime.errors import ConfigError, Reason
from spinert.runtime.user_directories import user_directory

__all__ = ["EnginesSettings"]

_RANGES = (
    ("optimization_level", 0, 5),
    ("max_height_px", 0, 65535),
    ("max_width_px", 0, 65535),
    ("keep_gib", 0, 2**20),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EnginesSettings:
    """How TensorRT engines are compiled, and where they are kept."""

    cache_dir: str = ""
    """Empty: $XDG_CACHE_HOME/spinert/engines, else ~/.cache/spinert/engines. Only
    this user may write it, and it never lies in a bundle."""

    optimization_level: int = 3
    """0 to 5. Higher builds longer, and may run faster."""

    strip_weights: bool = False
    """Smaller engines that take their weights from the bundle when loaded. TensorRT
    only, and loading takes longer."""

    bind_to_gpu: bool = False
    """Build again for another GPU of the same model. TensorRT only."""

    max_height_px: int = 0
    max_width_px: int = 0
    """Largest image for networks that take images in their own size; 0: none stated,
    and such networks are refused."""

    keep_gib: int = 16
    """Size of the cache; when engines were built or loaded, those not used for
    longest go first. Those just asked for stay in any case."""

    def __post_init__(self) -> None:
        """Reject what no engine can be built with."""
        for name, low, high in _RANGES:
            if not low <= getattr(self, name) <= high:
                raise ConfigError(
                    Reason.CONFIG_INVALID, f"engines.{name}: {low} to {high}"
                )

    def directory(self) -> Path:
        """Return the directory of engines; it may not exist yet.

        Raises:
            ConfigError: It is not set, and the user has no home.
        """
        if self.cache_dir:
            return Path(self.cache_dir)
        base = user_directory("XDG_CACHE_HOME", ".cache")
        if base is None:
            raise ConfigError(
                Reason.CONFIG_INVALID,
                "this user has no home: set engines.cache_dir to a directory",
            )
        return base / "spinert" / "engines"
