"""What is wrong with the input: counted, listed, and what was done about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from spinert.evaluation.evaluating import Evaluation
from spinert.evaluation.problems import Problem, counts_of
from spinert.evaluation.records import Unanswered
from spinert.runtime.report.html import Html, element, table, text

__all__ = ["problem_lines", "problem_section"]

_SHOWN: Final = 200
"""Rows of one kind on the page; report.json has all."""


def problem_section(found: Evaluation) -> Iterator[Html]:
    """Yield images without an answer, then problems of the annotations by kind."""
    yield element("h2", text("Problems in the input"))
    if not found.unanswered and not found.annotations.problems:
        yield element("p", text("None: every row and every image was used."))
        return
    if found.unanswered:
        yield element("div", *_unanswered(found.unanswered), css="card")
    by_code: dict[str, list[Problem]] = {}
    for problem in found.annotations.problems:
        by_code.setdefault(problem.code, []).append(problem)
    kinds = [
        _kind(code, by_code[code]) for code in counts_of(found.annotations.problems)
    ]
    if kinds:
        yield element("div", *kinds, css="card")


def problem_lines(found: Evaluation) -> list[str]:
    """Return one line for each kind, for a terminal."""
    lines = [
        f"{reason}: {count} image{'' if count == 1 else 's'} without an answer"
        for reason, count in Counter(o.reason for o in found.unanswered).items()
    ]
    first: dict[str, Problem] = {}
    for problem in found.annotations.problems:
        first.setdefault(problem.code, problem)
    for code, count in counts_of(found.annotations.problems).items():
        lines.append(f"{code}: {count}, for example {_where(first[code])}")
    return lines


def _where(problem: Problem) -> str:
    where = "" if problem.row is None else f"row {problem.row}: "
    image = "" if problem.image_id is None else f"{problem.image_id}: "
    return f"{where}{image}{problem.text}"


def _unanswered(outcomes: Sequence[Unanswered]) -> Iterator[Html]:
    yield element("h3", text(f"Images without an answer: {len(outcomes)}"))
    header = ("Image", "reason", "what to do")
    rows = [
        ("", [text(o.image_id), element("code", text(o.reason)), text(o.message)])
        for o in outcomes[:_SHOWN]
    ]
    yield table(header, rows)
    yield from _rest(len(outcomes))


def _kind(code: str, problems: Sequence[Problem]) -> Html:
    header = ("Row", "image", "what was done")
    rows = [
        (
            "",
            [
                text("" if p.row is None else p.row),
                text(p.image_id or ""),
                text(p.text),
            ],
        )
        for p in problems[:_SHOWN]
    ]
    return element(
        "details",
        element("summary", text(f"{code}: {len(problems)}")),
        table(header, rows),
        *_rest(len(problems)),
    )


def _rest(count: int) -> Iterator[Html]:
    if count > _SHOWN:
        told = f"and {count - _SHOWN} more, in report.json"
        yield element("p", text(told), css="soft")
