"""Records of constancy tests: one JSON file and one page for each run.

In a folder of their own, named by time; they hold no image and nothing of a patient.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from spinert import __version__
from spinert.constancy.asking import NoAnswer
from spinert.constancy.errors import RecordError
from spinert.constancy.judging import CaseReport, RunReport
from spinert.phantom.files import write_atomically
from spinert.proto import inference_pb2 as pb
from spinert.runtime.user_directories import user_directory

__all__ = [
    "History",
    "PastRun",
    "Run",
    "default_records",
    "history_from_records",
    "past_run_from_record",
    "record_from_run",
    "trend_of",
    "write_record",
]

_FORMAT: Final = 1
_PREFIX: Final = "selftest-"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A test that was held, and what it was held on."""

    made_at: datetime
    """UTC."""
    server: str
    """As the user named it: an address, or the bundle that was served for the test."""
    info: pb.ServerInfo
    report: RunReport


@dataclass(frozen=True, kw_only=True, slots=True)
class PastRun:
    """What the trend shows of a run."""

    made_at: datetime
    has_passed: bool
    score_deviation: float
    """NaN: it was not a number, because something was not answered."""
    latency_s: float
    """Of the median phantom; NaN: none was answered."""
    bundle_version: str
    bundle_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """Earlier runs, oldest first."""

    runs: tuple[PastRun, ...] = ()
    unreadable: tuple[str, ...] = ()
    """Names of files that look like records and are none."""


def default_records() -> Path | None:
    """Return where records are kept unless the user says otherwise."""
    state = user_directory("XDG_STATE_HOME", ".local/state")
    return None if state is None else state / "spinert" / "selftest"


def record_from_run(run: Run) -> dict[str, Any]:
    """Return a run as JSON has it."""
    report, info = run.report, run.info
    return {
        "format": _FORMAT,
        "made_at": run.made_at.isoformat(timespec="seconds"),
        "passed": report.has_passed,
        "spinert_version": __version__,
        "server": run.server,
        "runtime_version": info.runtime_version,
        "backend": info.backend,
        "precision": info.precision,
        "degraded": info.degraded,
        "bundle": {
            "name": info.bundle_name,
            "version": info.bundle_version,
            "sha256": info.bundle_sha256,
        },
        "limits": {
            "phantom_version": report.limits.phantom_version,
            "seed": report.limits.seed,
            "long_edge_px": report.limits.long_edge_px,
            "score_tolerance": report.limits.score_tolerance,
            "box_iou_min": report.limits.box_iou_min,
            "latency_limit_s": report.limits.latency_limit_s,
        },
        "score_deviation": _figure(report.score_deviation),
        "latency_median_s": _figure(report.latency_median_s),
        "latency_max_s": _figure(report.latency_max_s),
        "deviations": [
            {"kind": entry.kind.value, "text": entry.text}
            for entry in report.deviations
        ],
        "cases": [_case(case) for case in report.cases],
    }


def _case(case: CaseReport) -> dict[str, Any]:
    answer = case.asked.outcome
    if isinstance(answer, NoAnswer):
        probability = latency_s = math.nan
    else:
        probability = answer.verdict.abnormal_probability
        latency_s = case.asked.latency_s
    return {
        "index": case.expected.index,
        "passed": case.has_passed,
        "same_pixels": case.has_same_pixels,
        "expected_probability": case.expected.abnormal_probability,
        "probability": _figure(probability),
        "score_deviation": _figure(case.score_deviation),
        "findings_expected": len(case.expected.findings),
        "findings_found_again": len(case.found_again),
        "latency_s": _figure(latency_s),
        "deviations": [
            {"kind": entry.kind.value, "text": entry.text} for entry in case.deviations
        ],
    }


def _figure(value: float) -> float | None:
    """Return a number that JSON knows."""
    return value if math.isfinite(value) else None


def past_run_from_record(record: dict[str, Any]) -> PastRun:
    """Return what the trend shows of a record.

    Raises:
        KeyError, TypeError, ValueError: It is none of this format.
    """
    if record["format"] != _FORMAT:
        raise ValueError("format")
    deviation, latency_s = record["score_deviation"], record["latency_median_s"]
    return PastRun(
        made_at=datetime.fromisoformat(record["made_at"]).astimezone(UTC),
        has_passed=bool(record["passed"]),
        score_deviation=math.nan if deviation is None else float(deviation),
        latency_s=math.nan if latency_s is None else float(latency_s),
        bundle_version=str(record["bundle"]["version"]),
        bundle_sha256=str(record["bundle"]["sha256"]),
    )


def history_from_records(directory: Path) -> History:
    """Read the runs recorded in `directory`; none where it does not exist."""
    runs: list[PastRun] = []
    unreadable: list[str] = []
    for path in sorted(directory.glob(f"{_PREFIX}*.json")):
        try:
            runs.append(past_run_from_record(json.loads(path.read_text("utf-8"))))
        except (OSError, KeyError, TypeError, ValueError):
            unreadable.append(path.name)
    runs.sort(key=lambda run: run.made_at)
    return History(runs=tuple(runs), unreadable=tuple(unreadable))


def write_record(directory: Path, run: Run, page: str) -> Path:
    """Keep a run; return the path of its page. The record lies beside it.

    Raises:
        RecordError: The folder cannot be written.
    """
    record = json.dumps(record_from_run(run), indent=2, allow_nan=False) + "\n"
    stem = f"{_PREFIX}{run.made_at:%Y%m%dT%H%M%SZ}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        path = _free_path(directory, stem)
        write_atomically(path.with_suffix(".html"), page.encode())
        write_atomically(path, record.encode())
    except OSError as error:
        raise RecordError(
            f"the record cannot be kept in {directory}: {error.strerror}; name another "
            "folder with --record"
        ) from error
    return path.with_suffix(".html")


def _free_path(directory: Path, stem: str) -> Path:
    """Return a name that no run of the same second has taken."""
    path, number = directory / f"{stem}.json", 2
    while path.exists():
        path, number = directory / f"{stem}-{number}.json", number + 1
    return path


def trend_of(history: History, run: Run, longest: int) -> Sequence[PastRun]:
    """Return the last runs, this one included, oldest first."""
    this = past_run_from_record(record_from_run(run))
    return [*history.runs, this][-longest:]
