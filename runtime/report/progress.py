"""Progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

__all__ = ["console", "count_progress", "stage_progress"]

_FILE_WIDTH = 110


def console(*, stderr: bool = False) -> Console:
    """Return a console; into a file or pipe it writes lines wide enough for tables.

    It shows what it is given: brackets in a file name are no markup.
    """
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = max(made.width, _FILE_WIDTH)
    return made


@contextmanager
def stage_progress(console: Console) -> Iterator[Callable[[str, float], None]]:
    """Yield a callback for (what is being done, fraction done from 0 to 1)."""
    with Progress(
        BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), _TEXT, console=console
    ) as bars:
        task = bars.add_task("", total=1.0)
        shown = ""

        def update(stage: str, fraction: float) -> None:
            nonlocal shown
            bars.update(task, description=stage, completed=fraction)
            if not console.is_terminal and stage != shown:
                # A log has no bar to redraw: one line for each stage.
                console.print(f"{fraction:4.0%}  {stage}")
            shown = stage

        yield update


@contextmanager
def count_progress(
    console: Console, what: str, total: int
) -> Iterator[Callable[[], None]]:
    """Yield a callback to call once for each of `total` things done."""
    with Progress(
        _TEXT, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    ) as bars:
        task = bars.add_task(what, total=total)
        yield lambda: bars.advance(task)


_TEXT = TextColumn("{task.description}", markup=False)
