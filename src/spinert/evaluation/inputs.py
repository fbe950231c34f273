"""Which table and which folder a split means."""

from __future__ import annotations

from pathlib import Path

from spinert.evaluation.errors import DataError

__all__ = ["images_split", "table_path"]


def table_path(data: Path, annotations: Path | None, split: str) -> Path:
    """Return the table: as named, or `data`/annotations/{split}.csv or .json.

    Raises:
        DataError: None was named, and none is there.
    """
    if annotations is not None:
        return annotations
    for suffix in (".csv", ".json"):
        path = data / "annotations" / f"{split}{suffix}"
        if path.is_file():
            return path
    raise DataError(
        f"no table {data / 'annotations' / split}.csv; name it with --annotations"
    )


def images_split(data: Path, split: str) -> str | None:
    """Return `split` where `data` has a folder for it, None for a folder of images."""
    return split if (data / f"{split}_images").is_dir() else None
