"""What became of each file: as a table, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from spinert.proto import inference_pb2 as pb

__all__ = ["FileAnswer", "FileError", "answers_view", "json_from_answers"]

_DECISIONS = {
    pb.DECISION_NORMAL: ("normal", "green"),
    pb.DECISION_ABNORMAL: ("abnormal", "red"),
    pb.DECISION_UNSPECIFIED: ("-", ""),
}
_TIMED = {
    "decode": "decode",
    "prepare": "prep.",
    "classifier": "class.",
    "detector": "detect",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FileError:
    """Why a file was not analysed."""

    status: str
    reason: str
    message: str
    is_refusal: bool = True
    """Whether the server judged the file; False: it may do better next time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileAnswer:
    """What became of one file."""

    path: Path
    outcome: pb.Result | FileError


def answers_view(answers: Sequence[FileAnswer]) -> Group:
    """Return tables: verdicts with milliseconds by stage, refusals, and the rest."""
    verdicts = _table()
    verdicts.add_column("file", overflow="fold", min_width=12)
    verdicts.add_column("p(abn)", justify="right", no_wrap=True)
    verdicts.add_column("decision", no_wrap=True)
    verdicts.add_column("findings", overflow="fold", min_width=22)
    for heading in (*_TIMED.values(), "total ms"):
        verdicts.add_column(heading, justify="right", no_wrap=True)
    refusals = _errors("refused file", "what to do")
    unanswered = _errors("file without answer", "what happened")
    for answer in answers:
        # Text is shown as it is; a plain string would be read as markup.
        name, outcome = Text(answer.path.name), answer.outcome
        if isinstance(outcome, FileError):
            table = refusals if outcome.is_refusal else unanswered
            table.add_row(name, Text(outcome.reason), Text(outcome.message))
        else:
            verdicts.add_row(name, *_cells(outcome))
    tables = (verdicts, refusals, unanswered)
    return Group(*(table for table in tables if table.row_count))


def _errors(file: str, message: str) -> Table:
    table = _table()
    table.add_column(file, overflow="fold", min_width=12)
    table.add_column("reason", style="red", no_wrap=True)
    table.add_column(message, overflow="fold")
    return table


def _table() -> Table:
    return Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _cells(result: pb.Result) -> list[str | Text]:
    verdict = result.verdict
    word, style = _DECISIONS[verdict.decision]
    if verdict.assessment == pb.ASSESSMENT_UNCERTAIN:
        word, style = f"{word} (uncertain)", "yellow"
    spent = {stage.name: stage.duration_ms for stage in result.receipt.stages}
    return [
        f"{verdict.abnormal_probability:.3f}",
        Text(word, style),
        Text(_findings_text(verdict)),
        *(f"{spent[name]:.0f}" if name in spent else "-" for name in _TIMED),
        f"{result.receipt.total_ms:.0f}",
    ]


def _findings_text(verdict: pb.Verdict) -> str:
    kept = len(verdict.findings)
    suppressed = len(verdict.suppressed)
    told = f"{kept}" if kept else "none"
    if kept:
        best = max(verdict.findings, key=lambda f: f.score)
        told += f": {best.class_name} {best.score:.2f}" + (" ..." if kept > 1 else "")
    return f"{told} ({suppressed} suppressed)" if suppressed else told


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
    # Zero is a value: class 0, a box at the edge, no findings.
    fields = json_format.MessageToDict(
        outcome,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    return {"file": str(answer.path), **fields}
