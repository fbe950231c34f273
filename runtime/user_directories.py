"""Where files of this user belong (XDG Base Directory Specification)."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["user_directory"]


def user_directory(variable: str, below_home: str) -> Path | None:
    """Return the directory that an environment variable names, or its default.

    None for a user without a home and without the variable, as in many containers.

    Args:
        variable: For example XDG_CACHE_HOME.
        below_home: What takes its place, relative to the home directory.
    """
    if base := os.environ.get(variable):
        return Path(base)
    try:
        return Path.home() / below_home
    except RuntimeError:
        return None
