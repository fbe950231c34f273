"""Whole evaluations of the tiny bundle, as the command runs them."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from spinert.evaluation.bootstrap import Bootstrap
from spinert.evaluation.deciding import Choice, ChosenBy
from spinert.evaluation.job import Job, Rival, run_job
from spinert.evaluation.labels import Merge
from spinert.evaluation.report_page import Report
from spinert.proto import bundle_pb2 as pb
from spinert.runtime.config import BackendSettings, DecodeSettings, Settings
from support.bundles import tiny_spec, write_bundle

FAKE = Settings(backend=BackendSettings(name="fake"), decode=DecodeSettings(workers=1))


@dataclass
class Told:
    """What a job printed."""

    report: Report
    out: str
    progress: str
    folder: Path = field(default_factory=Path)

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()


def evaluation_bundle(directory: Path, spec: pb.Bundle | None = None) -> Path:
    """Write the tiny bundle with graphs in both precisions."""
    made = pb.Bundle()
    made.CopyFrom(spec or tiny_spec())
    files = {}
    for role, network in made.networks.items():
        network.forms.add(file=f"networks/{role}.fp16.onnx", precision="fp16")
        files |= {network.file: b"fake", network.forms[0].file: b"half"}
    directory.mkdir(parents=True)
    return write_bundle(directory, made, files)


def job(data: Path, output: Path, **changes: Any) -> Job:
    values = {
        "bundle": None,
        "server": None,
        "settings": FAKE,
        "data": data,
        "annotations": None,
        "split": "test",
        "merge": Merge.PAPER,
        "choice": Choice(by=ChosenBy.BUNDLE),
        "bootstrap": Bootstrap(resamples=20),
        "rival": Rival(),
        "predictions": None,
        "pictures": 0,
        "output": output,
    }
    return Job(**(values | changes))


def told(made: Job) -> Told:
    out, progress = io.StringIO(), io.StringIO()
    report = run_job(
        made, Console(file=out, width=200), Console(file=progress, width=200)
    )
    return Told(report, out.getvalue(), progress.getvalue(), made.output)
