"""`spinert analyze`: files in; a table, JSON and pictures out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client import Client
from spinert.runtime.report.answers import FileAnswer, answers_view, json_from_answers
from spinert.runtime.report.inputs import frame_paths
from spinert.runtime.report.progress import count_progress
from spinert.runtime.report.reaching import reached_server
from spinert.runtime.report.sending import answers_from_files

__all__ = ["Job", "run_job"]

_READY_TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What to analyse, where, and what to keep."""

    paths: tuple[Path, ...]
    server: str | None
    bundle: Path | None
    json_path: Path | None
    overlay: Path | None


def run_job(job: Job, out: Console, progress: Console) -> list[FileAnswer]:
    """Analyse files, print the table to `out`, show progress on `progress`.

    Files that a server did not live to answer have a FileError.

    Raises:
        SpinertError: No frames, the local server does not start, or, with all the
            rest done, pictures cannot be drawn here.
        RequestFailed: The server cannot be reached.
    """
    paths = frame_paths(job.paths)
    # A quota of its own for every call, or two at a time would share one.
    device = f"analyze-{os.getpid()}"
    reaching = reached_server(job.server, job.bundle, progress)
    with reaching as address, Client(address, device=device) as client:
        client.wait_ready(timeout_s=_READY_TIMEOUT_S)
        info = client.server_info()
        with count_progress(progress, "analyzing", len(paths)) as done:
            answers = answers_from_files(client, paths, done)
    out.print(answers_view(answers))
    out.print(Text(f"{info.disclaimer} {info.notice}".strip(), style="yellow"))
    if job.json_path is not None:
        job.json_path.parent.mkdir(parents=True, exist_ok=True)
        job.json_path.write_text(json_from_answers(answers))
    if job.overlay is not None:
        _write_pictures(answers, job.overlay, progress)
    return answers


def _write_pictures(
    answers: Sequence[FileAnswer], directory: Path, progress: Console
) -> None:
    from spinert.runtime.report.pictures import picture_names, write_pictures

    names = picture_names([answer.path for answer in answers])
    served = [
        (answer.path, name, answer.outcome)
        for answer, name in zip(answers, names, strict=True)
        if isinstance(answer.outcome, pb.Result)
    ]
    with count_progress(progress, "drawing", len(served)) as done:
        missing = write_pictures(served, directory, done)
    for path, why in missing:
        progress.print(Text(f"no picture of {path.name}: {why}", style="yellow"))
