"""What became of each file: as a table, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from rich.table import Table
from rich.text import Text

from spinert.proto import inference_pb2 as pb

__all__ = ["FileAnswer", "FileError", "answers_table", "json_from_answers"]

_STYLES = {
    pb.ASSESSMENT_NORMAL: ("normal", "green"),
    pb.ASSESSMENT_ABNORMAL: ("abnormal", "red"),
    pb.ASSESSMENT_UNCERTAIN: ("uncertain", "yellow"),
    pb.ASSESSMENT_UNSPECIFIED: ("-", ""),
}
_TIMED = ("decode", "prepare", "classifier", "detector")
_LISTED_FINDINGS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class FileError:
    """Why a file was not analysed."""

    status: str
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FileAnswer:
    """What became of one file."""

    path: Path
    outcome: pb.Result | FileError


def answers_table(answers: Iterable[FileAnswer]) -> Table:
    """Return file, probability, decision, findings and milliseconds by stage."""
    table = Table(title="Verdicts", title_justify="left", pad_edge=False)
    table.add_column("file", overflow="fold", min_width=12)
    table.add_column("p(abn)", justify="right")
    table.add_column("decision")
    table.add_column("findings", overflow="fold", min_width=20)
    for name in (*(f"{stage}" for stage in _TIMED), "total ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for answer in answers:
        if isinstance(answer.outcome, FileError):
            reason = Text(f"{answer.outcome.reason}: {answer.outcome.message}", "red")
            table.add_row(answer.path.name, "-", Text("refused", "red"), reason)
        else:
            table.add_row(answer.path.name, *_cells(answer.outcome))
    return table


def _cells(result: pb.Result) -> list[str | Text]:
    verdict = result.verdict
    word, style = _STYLES[verdict.assessment]
    spent = {stage.name: stage.duration_ms for stage in result.receipt.stages}
    return [
        f"{verdict.abnormal_probability:.3f}",
        Text(word, style),
        _findings_text(verdict),
        *(f"{spent[name]:.0f}" if name in spent else "-" for name in _TIMED),
        f"{result.receipt.total_ms:.0f}",
    ]


def _findings_text(verdict: pb.Verdict) -> str:
    best = sorted(verdict.findings, key=lambda f: -f.score)[:_LISTED_FINDINGS]
    text = ", ".join(f"{f.class_name} {f.score:.2f}" for f in best) or "none"
    more = len(verdict.findings) - len(best)
    return f"{text}, {more} more" if more else text


def json_from_answers(answers: Iterable[FileAnswer]) -> str:
    """Return a JSON list, one object for each file.

    Each has `file`, and either the fields of spinert.v1.Result (protobuf JSON,
    names as in the .proto) or `error` with `status`, `reason` and `message`.
    """
    return json.dumps([_object(answer) for answer in answers], indent=2) + "\n"


def _object(answer: FileAnswer) -> dict[str, Any]:
    outcome = answer.outcome
    if isinstance(outcome, FileError):
        error = {
            "status": outcome.status,
            "reason": outcome.reason,
            "message": outcome.message,
        }
        return {"file": str(answer.path), "error": error}
    fields = json_format.MessageToDict(outcome, preserving_proto_field_name=True)
    return {"file": str(answer.path), **fields}
