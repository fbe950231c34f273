"""`spinert evaluate`: from images and a table to a report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from spinert.evaluation.annotations import Annotations, read_annotations
from spinert.evaluation.asking import Source
from spinert.evaluation.bootstrap import Bootstrap
from spinert.evaluation.comparing import Versus, versus
from spinert.evaluation.deciding import Choice
from spinert.evaluation.evaluating import Evaluation, evaluated
from spinert.evaluation.inputs import images_split, table_path
from spinert.evaluation.labels import Merge
from spinert.evaluation.local_source import local_source
from spinert.evaluation.miss_pictures import MissPicture, miss_pictures
from spinert.evaluation.misses import worst_misses
from spinert.evaluation.paper_table import rich_from_table
from spinert.evaluation.report_files import require_folder, tables_of, write_report
from spinert.evaluation.report_page import Report
from spinert.evaluation.report_problems import problem_lines
from spinert.evaluation.running import Run, run_cases
from spinert.evaluation.server_source import server_source
from spinert.evaluation.store import Store, StoredPredictions, read_store
from spinert.evaluation.stored_pairs import STORE_NAME, store_path
from spinert.evaluation.subject import precision_text
from spinert.runtime.bundle import LoadedBundle, load_bundle
from spinert.runtime.config import Settings
from spinert.runtime.errors import ConfigError, Reason
from spinert.runtime.report.progress import count_progress, stage_progress

__all__ = ["Job", "Rival", "run_job"]

_RIVAL_STORE = "predictions-against.jsonl"


@dataclass(frozen=True, kw_only=True)
class Rival:
    """What to compare with; at most one of `stored` and the other two."""

    stored: Path | None = None
    """Predictions, or a report folder that holds them."""
    bundle: Path | None = None
    """Run too; None: the same bundle."""
    precision: str | None = None
    """Run in; None: the same."""

    @property
    def is_run(self) -> bool:
        """Tell whether it has to be run."""
        return self.bundle is not None or self.precision is not None


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to evaluate, on what, and how."""

    bundle: Path | None
    server: str | None
    settings: Settings
    """Of a bundle that runs in this process."""
    data: Path
    annotations: Path | None
    split: str
    merge: Merge
    choice: Choice
    bootstrap: Bootstrap
    rival: Rival
    predictions: Path | None
    """Where they are stored; None: in `output`."""
    pictures: int
    output: Path

    def __post_init__(self) -> None:
        """Refuse what cannot be run.

        Raises:
            ConfigError: A server would have to be compared with a run in this process.
        """
        if self.server is not None and self.rival.is_run:
            raise ConfigError(
                Reason.CONFIG_INVALID,
                "--against-bundle and --against-precision run in this process: leave "
                "--server out, or evaluate the two apart and use --compare",
            )


def run_job(job: Job, out: Console, progress: Console) -> Report:
    """Evaluate, write the report, print its tables to `out`.

    Raises:
        EvaluationError: The input is of no use, or something cannot be stored.
        SpinertError: The bundle cannot be run here.
    """
    require_folder(job.output)
    bundle = None if job.bundle is None else load_bundle(job.bundle)
    table = table_path(job.data, job.annotations, job.split)
    known = None if bundle is None else _annotations(job, table, _classes(bundle))
    with _source(job, bundle, progress) as source:
        if known is None:
            known = _annotations(job, table, source.subject.classes)
        path = job.predictions or job.output / STORE_NAME
        run = _run(job, known, source, path, progress)
    rival = _rival(job, known, bundle, progress)
    progress.print("measuring")
    found = evaluated(
        known, run, job.choice, job.bootstrap, split=job.split, table=table.name
    )
    report = Report(
        found=found,
        versus=_versus(found, run, rival),
        pictures=_pictures(job, found, progress),
        made_at=datetime.now(UTC),
    )
    write_report(job.output, report)
    for made in tables_of(report):
        out.print(rich_from_table(made))
    for line in problem_lines(found):
        out.print(Text(line, style="yellow"))
    return report


def _classes(bundle: LoadedBundle) -> tuple[str, ...]:
    return tuple(entry.name for entry in bundle.spec.classes)


def _annotations(job: Job, table: Path, classes: tuple[str, ...]) -> Annotations:
    return read_annotations(
        table,
        job.data,
        classes=classes,
        merge=job.merge,
        split=images_split(job.data, job.split),
    )


@contextmanager
def _source(
    job: Job, bundle: LoadedBundle | None, progress: Console
) -> Iterator[Source]:
    if job.server is not None:
        with server_source(job.server, bundle) as remote:
            yield remote
        return
    if bundle is None:
        raise ValueError("a job needs a bundle or a server")
    with _local(bundle, job.settings, progress) as local:
        yield local


@contextmanager
def _local(
    bundle: LoadedBundle, settings: Settings, progress: Console
) -> Iterator[Source]:
    with ExitStack() as stack:
        # The bar ends before the next one begins.
        with stage_progress(progress) as update:
            update("loading networks", 0.0)
            source = stack.enter_context(local_source(bundle, settings, update))
            update("networks loaded", 1.0)
        yield source


def _run(
    job: Job, known: Annotations, source: Source, path: Path, progress: Console
) -> Run:
    with Store(path, source.subject) as store:
        if store.set_aside is not None:
            what = " and ".join(store.changes)
            told = (
                f"the {what} changed: starting over; earlier predictions are kept as "
                f"{store.set_aside}"
            )
            progress.print(Text(told, style="yellow"))
        subject = source.subject
        named = f"{subject.bundle_name} {subject.bundle_version}"
        title = f"{named}, {precision_text(subject)}"
        with count_progress(progress, title, len(known.cases)) as done:
            run = run_cases(known.cases, job.split, source, store, done)
    if run.continued:
        progress.print(f"{run.continued} answers are of an earlier run: {path}")
    return run


def _rival(
    job: Job, known: Annotations, bundle: LoadedBundle | None, progress: Console
) -> StoredPredictions | None:
    """Return the predictions to compare with, running what has to be run."""
    rival = job.rival
    if rival.stored is not None:
        return read_store(store_path(rival.stored))
    if not rival.is_run or bundle is None:
        return None
    other = bundle if rival.bundle is None else load_bundle(rival.bundle)
    settings = job.settings
    if rival.precision is not None:
        backend = replace(settings.backend, precision=rival.precision)
        settings = replace(settings, backend=backend)
    with _local(other, settings, progress) as source:
        run = _run(job, known, source, job.output / _RIVAL_STORE, progress)
        outcomes = {outcome.image_id: outcome for outcome in run.outcomes}
        return StoredPredictions(subject=source.subject, outcomes=outcomes)


def _versus(
    found: Evaluation, run: Run, rival: StoredPredictions | None
) -> Versus | None:
    if rival is None:
        return None
    return versus(found, run, rival.subject, rival.outcomes)


def _pictures(job: Job, found: Evaluation, progress: Console) -> list[MissPicture]:
    misses = worst_misses(found.pairs.cases, found.pairs.predictions, job.pictures)
    threshold = found.operating.threshold
    with count_progress(progress, "drawing", len(misses)) as done:
        return miss_pictures(misses, threshold, found.subject, done)
