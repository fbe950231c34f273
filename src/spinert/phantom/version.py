"""Which phantoms this is: raise it whenever a seed draws another image."""

from __future__ import annotations

from typing import Final

__all__ = ["PHANTOM_VERSION"]

PHANTOM_VERSION: Final = "1"
