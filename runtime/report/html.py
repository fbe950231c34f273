"""HTML as typed text: what is not `Html` cannot get onto a page unescaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Final, NewType

__all__ = ["Html", "document", "element", "joined", "table", "text"]

Html = NewType("Html", str)
"""Markup. Made by the functions of this module only."""

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b2430; --soft: #5d6b7c; --line: #d9e0e8;
  --page: #f6f8fa; --card: #fff; --good: #17784c; --bad: #b3261e; --bar: #3f7fbf; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ef; --soft: #98a6b5;
  --line: #313b47; --page: #12171d; --card: #1a2129; --good: #4fc08d; --bad: #ff8a80;
  --bar: #6ea8dc; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 40px 0 12px; }
h3 { font-size: 16px; margin: 0 0 4px; }
h4 { font-size: 14px; margin: 20px 0 4px; }
p { margin: 4px 0 12px; }
.soft { color: var(--soft); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 18px 20px; margin: 12px 0; }
.badge { display: inline-block; border-radius: 4px; padding: 1px 9px; color: #fff;
  font-weight: 600; font-size: 13px; letter-spacing: .03em; vertical-align: 2px; }
.badge.good { background: #17784c; } .badge.bad { background: #b3261e; }
.notice { border-left: 4px solid #c98a00; padding: 6px 12px; margin: 12px 0; }
.failure { border-left: 4px solid var(--bad); padding: 6px 12px; margin: 12px 0;
  overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; font-size: 13px; color: var(--soft); }
th, td { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line);
  vertical-align: middle; }
tr:last-child td { border-bottom: 0; }
.number { text-align: right; white-space: nowrap; width: 12%; }
.wide { width: 36%; }
tr.bad td { color: var(--bad); font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 20px; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
code { font: 13px/1.5 ui-monospace, Menlo, Consolas, monospace;
  overflow-wrap: anywhere; }
details { margin: 4px 0; } summary { cursor: pointer; }
details code { display: block; padding: 4px 0 4px 16px; color: var(--soft); }
svg { display: block; width: 100%; height: 16px; }
svg .track { fill: var(--line); } svg .bar { fill: var(--bar); }
svg .bar.bad { fill: var(--bad); } svg .limit { stroke: var(--ink); stroke-width: 2; }
"""

_VOID: Final = {"img"}
"""Elements without content, and so without an end (HTML section 13.1.2)."""


def text(value: object) -> Html:
    """Return `value` as text, whatever is in it."""
    return Html(html.escape(str(value), quote=True))


def joined(parts: Iterable[Html]) -> Html:
    """Return parts one after the other."""
    return Html("".join(parts))


def element(tag: str, *children: Html, css: str = "", **attributes: object) -> Html:
    """Return an element; `css` is its class, values of attributes are escaped."""
    named = {"class": css} if css else {}
    told = "".join(
        f' {name}="{text(value)}"' for name, value in (named | attributes).items()
    )
    end = "" if tag in _VOID else f"</{tag}>"
    return Html(f"<{tag}{told}>{joined(children)}{end}")


def table(
    header: Sequence[str],
    rows: Iterable[tuple[str, Sequence[Html]]],
    numbers: Sequence[int] = (),
    wide: int = -1,
) -> Html:
    """Return a table.

    Args:
        header: Names of the columns.
        rows: The class of each row, and its cells.
        numbers: Columns of figures, from 0.
        wide: The column that takes what is left.
    """

    def css(column: int) -> str:
        return "number" if column in numbers else "wide" if column == wide else ""

    head = [element("th", text(name), css=css(i)) for i, name in enumerate(header)]
    body = [
        element(
            "tr", *(element("td", c, css=css(i)) for i, c in enumerate(cells)), css=kind
        )
        for kind, cells in rows
    ]
    whole = element(
        "table", element("thead", element("tr", *head)), element("tbody", *body)
    )
    return element("div", whole, css="scroll")


def document(title: str, *content: Html, style: str = "") -> Html:
    """Return a page that needs nothing but itself; `style` adds to its CSS."""
    return Html(
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{_STYLE}{style}</style></head>"
        f"<body><main>{joined(content)}</main></body></html>\n"
    )
