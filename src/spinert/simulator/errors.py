"""What can be wrong with a simulation."""

from __future__ import annotations

__all__ = ["ScenarioError"]


class ScenarioError(ValueError):
    """A scenario that cannot be run; the message says which figure is wrong."""
