"""The names of the files that are written for a network, by that of its main graph."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final, NamedTuple

__all__ = ["SplitFiles", "clash", "half_file", "split_files"]

_SUFFIX: Final = ".onnx"


class SplitFiles(NamedTuple):
    """The halves around a suppression inside the network."""

    proposals: str
    regions: str


def _beside(file: str, word: str) -> str:
    return f"{file.removesuffix(_SUFFIX)}.{word}{_SUFFIX}"


def half_file(file: str) -> str:
    """Return the name of the FP16 form."""
    return _beside(file, "fp16")


def split_files(file: str) -> SplitFiles:
    """Return the names of the split graphs."""
    return SplitFiles(_beside(file, "proposals"), _beside(file, "regions"))


def clash(file: str, other: str) -> str | None:
    """Return a file of the first network that cannot be beside those of the other.

    Because it has the name of one of them, or of the folder that one is in.
    """
    taken = [PurePosixPath(path) for path in _files(other)]
    for path in _files(file):
        pure = PurePosixPath(path)
        if any(
            pure == each or pure in each.parents or each in pure.parents
            for each in taken
        ):
            return path
    return None


def _files(file: str) -> tuple[str, ...]:
    return (file, half_file(file), *split_files(file))
