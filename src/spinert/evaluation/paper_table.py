"""One table, written as Markdown, LaTeX, HTML or for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from spinert.runtime.report.html import Html, element, joined, table, text

__all__ = [
    "PaperRow",
    "PaperTable",
    "html_from_table",
    "latex_from_table",
    "markdown_from_table",
    "rich_from_table",
]

_LATEX: Final = str.maketrans(
    {
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "±": r"$\pm$",
        "≥": r"$\geq$",
    }
)
_MARKDOWN: Final = str.maketrans({"|": r"\|", "*": r"\*", "_": r"\_", "<": "&lt;"})


@dataclass(frozen=True, kw_only=True)
class PaperRow:
    """Cells as they are read."""

    cells: tuple[str, ...]
    is_strong: bool = False
    """The row that the table is about."""


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """The first column names things, the others hold figures."""

    label: str
    """Of a reference, e.g. "classification"."""
    title: str
    context: str
    """Which bundle and images: for where the table stands alone."""
    header: tuple[str, ...]
    rows: tuple[PaperRow, ...]
    notes: tuple[str, ...] = ()


def markdown_from_table(found: PaperTable) -> str:
    """Return a GitHub-flavoured table under its title."""
    lines = [f"**{_escaped(found.title)}** {_escaped(found.context)}", ""]
    lines.append(_markdown_row(map(_escaped, found.header)))
    rules = ["---"] + ["--:"] * (len(found.header) - 1)
    lines.append(_markdown_row(rules))
    for row in found.rows:
        cells = [_escaped(cell) for cell in row.cells]
        if row.is_strong:
            cells = [f"**{cell}**" if cell else "" for cell in cells]
        lines.append(_markdown_row(cells))
    lines += [f"\n{_escaped(note)}" for note in found.notes]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(words: str) -> str:
    return words.translate(_MARKDOWN)


def latex_from_table(found: PaperTable) -> str:
    """Return a `table` environment; it needs the package booktabs."""
    columns = "l" + "c" * (len(found.header) - 1)
    caption = (found.title, found.context, *found.notes)
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{' '.join(caption).translate(_LATEX)}}}",
        rf"\label{{tab:{found.label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _latex_row(cell.translate(_LATEX) for cell in found.header),
        r"\midrule",
    ]
    for row in found.rows:
        cells = [cell.translate(_LATEX) for cell in row.cells]
        if row.is_strong:
            cells = [rf"\textbf{{{cell}}}" if cell else "" for cell in cells]
        lines.append(_latex_row(cells))
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def html_from_table(found: PaperTable) -> Html:
    """Return a card with title, table and notes."""
    rows = [
        (
            "",
            [
                element("strong", text(cell)) if row.is_strong else text(cell)
                for cell in row.cells
            ],
        )
        for row in found.rows
    ]
    numbers = range(1, len(found.header))
    notes = joined(element("p", text(note), css="soft") for note in found.notes)
    return element(
        "div",
        element("h3", text(found.title)),
        table(found.header, rows, numbers=numbers),
        notes,
        css="card paper",
    )


def rich_from_table(found: PaperTable) -> Group:
    """Return title, table and notes for a terminal."""
    made = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for index, name in enumerate(found.header):
        made.add_column(Text(name), justify="right" if index else "left", no_wrap=True)
    for row in found.rows:
        made.add_row(*map(Text, row.cells), style="bold" if row.is_strong else None)
    notes = (Text(note, style="dim") for note in found.notes)
    return Group(Text(found.title, style="bold"), made, *notes, Text())
