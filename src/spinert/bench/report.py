"""The report as a file: JSON that follows report.schema.json, and nothing else."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jsonschema

from spinert import __version__
from spinert.bench.errors import ReportInvalid
from spinert.bench.figures import Figure, json_from_figure
from spinert.bench.machine import machine_from_host

__all__ = ["assembled", "read_report", "report_schema", "write_file", "write_report"]

FORMAT: Final = 1
_SCHEMA: Final = "report.schema.json"
_FLAT: Final = re.compile(r"\[\s+([-+0-9.eE,\s]+?)\s+\]")
_DIGITS: Final = ".6g"
_LONGEST_WHY: Final = 200


def assembled(
    subject: Mapping[str, Any],
    settings: Mapping[str, Any],
    parts: Mapping[str, Any],
    figures: Sequence[Figure],
) -> dict[str, Any]:
    """Return a report made now, on this machine.

    Args:
        subject: What was measured.
        settings: How.
        parts: What was found, by the names of the schema.
        figures: What two reports are compared by.
    """
    return {
        "format": FORMAT,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "spinert": __version__,
        "machine": machine_from_host(),
        "subject": dict(subject),
        "settings": dict(settings),
        "failures": _failures(parts),
        "figures": [json_from_figure(figure) for figure in figures],
        **parts,
    }


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report that follows the schema; lists of numbers take one line.

    Raises:
        ReportInvalid: It cannot be written there.
    """
    _validate(report, path)
    content = json.dumps(_rounded(report), indent=1, allow_nan=False)
    flat = _FLAT.sub(lambda found: f"[{' '.join(found[1].split())}]", content)
    write_file(path, flat + "\n")


def write_file(path: Path, content: str) -> None:
    """Write a report in whatever form, and the folder it is to lie in.

    Raises:
        ReportInvalid: It cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    except OSError as error:
        raise ReportInvalid(f"cannot write {path}: {error.strerror}") from error


def read_report(path: Path) -> dict[str, Any]:
    """Read a report.

    Raises:
        ReportInvalid: There is none, or it does not follow the schema.
    """
    try:
        report: dict[str, Any] = json.loads(path.read_text())
    except OSError as error:
        raise ReportInvalid(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ReportInvalid(f"{path} is not JSON; give a report") from error
    _validate(report, path)
    return report


def report_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of a report."""
    content = files("spinert.bench").joinpath(_SCHEMA).read_text()
    schema: dict[str, Any] = json.loads(content)
    return schema


def _validate(report: Mapping[str, Any], path: Path) -> None:
    try:
        jsonschema.validate(report, report_schema())
    except jsonschema.ValidationError as error:
        why = error.message[:_LONGEST_WHY]
        raise ReportInvalid(
            f"{path} is no report of this version, at {error.json_path}: {why}"
        ) from error


def _failures(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Add up what every part counted, wherever in it."""
    where: dict[str, dict[str, int]] = {}
    total: Counter[str] = Counter()
    for name, part in parts.items():
        counted: Counter[str] = Counter()
        for found in _counted(part):
            counted.update(found)
        if counted:
            where[name] = dict(sorted(counted.items()))
            total.update(counted)
    return {
        "frames": total.total(),
        "by_reason": dict(sorted(total.items())),
        "where": where,
    }


def _counted(value: Any) -> Iterator[Mapping[str, int]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name == "failures":
                yield inner
            else:
                yield from _counted(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _counted(inner)


def _rounded(value: Any) -> Any:
    """Return values with as many digits as mean something."""
    if isinstance(value, float):
        return float(format(value, _DIGITS))
    if isinstance(value, Mapping):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
