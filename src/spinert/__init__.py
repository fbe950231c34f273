"""Spine X-ray inference for the edge. Research use only: not a medical device."""

from importlib.metadata import version

__all__ = ["__version__"]
__version__ = version("spinert")
