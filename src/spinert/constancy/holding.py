"""Hold a constancy test, or measure the limits for those to come."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from spinert import __version__
from spinert.constancy.asking import Asked, asked_phantoms
from spinert.constancy.judging import case_report, run_report
from spinert.constancy.limits import (
    LimitChoices,
    candidate_keys,
    keys_from_limits,
    limits_from_answers,
    required_limits,
)
from spinert.constancy.records import Run
from spinert.phantom.writing import Draw, draw_phantom
from spinert.runtime.bundle import LoadedBundle, load_bundle
from spinert.runtime.bundle_revision import (
    BundleChange,
    RevisionRecord,
    require_revision_place,
    revised_version,
    write_revision,
)
from spinert.runtime.client import Client
from spinert.runtime.report.progress import count_progress
from spinert.runtime.report.reaching import reached_server

__all__ = ["LimitOrder", "Subject", "hold_test", "measure_limits"]

_READY_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is tested: a running server, or a bundle that is served for the test."""

    server: str | None = None
    """HOST:PORT."""
    bundle: Path | None = None
    config: Path | None = None
    """Settings (TOML) for serving the bundle."""

    def __str__(self) -> str:
        """Name it for the record."""
        return self.server or f"served for the test from {self.bundle}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitOrder:
    """What limits to set, and where the bundle goes that holds them."""

    bundle: Path
    config: Path | None
    output: Path
    choices: LimitChoices
    is_replacing: bool = False
    """Whether a bundle at `output` may be replaced."""


def hold_test(subject: Subject, progress: Console, draw: Draw = draw_phantom) -> Run:
    """Ask about every phantom of the stored limits and judge the answers.

    Raises:
        NoLimitsError: The bundle that is served stores none that can be used here.
        SpinertError: A server of our own does not start.
        RequestFailed: The server cannot be reached.
    """
    with _connected(subject, progress) as client:
        info = client.server_info()
        limits = required_limits(info)
        keys = keys_from_limits(limits)
        with count_progress(progress, "asking", len(keys)) as done:
            answers = list(_counted(asked_phantoms(client, keys, draw), done))
    cases = [
        case_report(limits, expected, asked)
        for expected, asked in zip(limits.cases, answers, strict=True)
    ]
    return Run(
        made_at=datetime.now(UTC),
        server=str(subject),
        info=info,
        report=run_report(limits, cases),
    )


def measure_limits(
    order: LimitOrder, progress: Console, draw: Draw = draw_phantom
) -> LoadedBundle:
    """Write a revision of the bundle that holds limits measured with it.

    Raises:
        ConstancyError: A phantom was not answered, or too few are decided clearly.
        SpinertError: The bundle is not whole, cannot be served or written.
    """
    require_revision_place(order.output, replace=order.is_replacing)
    bundle = load_bundle(order.bundle)
    choices = order.choices
    subject = Subject(bundle=order.bundle, config=order.config)
    with _connected(subject, progress) as client:
        answers = asked_phantoms(client, candidate_keys(choices), draw)
        with count_progress(progress, "asking", choices.count) as done:
            limits = limits_from_answers(choices, _counted(answers, done), bundle.spec)
    now = datetime.now(UTC)
    record = RevisionRecord(
        version=revised_version(bundle.spec.version, "limits", now.date()),
        tool=f"spinert selftest {__version__}",
        made_at=now,
        note=f"limits of the constancy test, measured on {limits.measured_on}",
    )
    change = BundleChange(constancy=limits)
    return write_revision(
        bundle, order.output, change, record, replace=order.is_replacing
    )


@contextmanager
def _connected(subject: Subject, progress: Console) -> Iterator[Client]:
    reaching = reached_server(subject.server, subject.bundle, progress, subject.config)
    # A quota of its own, so that no device waits for the test or the test for it.
    device = f"selftest-{os.getpid()}"
    with reaching as address, Client(address, device=device) as client:
        client.wait_ready(timeout_s=_READY_TIMEOUT_S)
        yield client


def _counted(answers: Iterable[Asked], done: Callable[[], None]) -> Iterator[Asked]:
    for asked in answers:
        done()
        yield asked
