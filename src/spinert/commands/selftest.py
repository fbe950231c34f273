"""`spinert selftest`: is the appliance what it was when its limits were set?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from spinert.constancy.holding import Subject

__all__ = ["selftest"]

_DIRECTORY = click.Path(path_type=Path)
_SHARE = click.FloatRange(0, 1, min_open=True)


@click.command()
@click.option("--server", help="HOST:PORT of a running server.")
@click.option("--bundle", type=_DIRECTORY, help="Serve this bundle just for the test.")
@click.option("--config", type=_DIRECTORY, help="Settings (TOML) to serve it with.")
@click.option(
    "--record",
    "records",
    type=_DIRECTORY,
    help="Keeps the records. [default: $XDG_STATE_HOME/spinert/selftest]",
)
@click.option("--no-record", is_flag=True, help="Keep none.")
@click.option(
    "--set-limits",
    is_flag=True,
    help="Do not test: measure limits with --bundle and write them into a new one.",
)
@click.option("-o", "--output", type=_DIRECTORY, help="Bundle that --set-limits makes.")
@click.option("--replace", is_flag=True, help="--set-limits: replace a bundle there.")
@click.option("--seed", type=click.IntRange(0), help="--set-limits: of the phantoms.")
@click.option("--count", type=click.IntRange(1, 200), help="--set-limits: phantoms.")
@click.option(
    "--long-edge",
    "long_edge_px",
    type=click.IntRange(256, 4096),
    help="--set-limits: of the phantoms, in pixels.",
)
@click.option("--score-tolerance", type=_SHARE, help="--set-limits: of every score.")
@click.option("--box-iou", "box_iou_min", type=_SHARE, help="--set-limits: at least.")
@click.option("--finding-floor", type=_SHARE, help="--set-limits: least score tested.")
@click.option(
    "--latency-limit",
    "latency_limit_s",
    type=click.FloatRange(0, min_open=True),
    help="--set-limits: of the median phantom, in seconds.",
)
def selftest(
    server: str | None,
    set_limits: bool,
    records: Path | None,
    no_record: bool,
    **options: Any,
) -> None:
    """Test with fixed phantoms that an appliance answers as it did.

    Passes, with exit code 0, only if scores, findings and latency lie inside the limits
    that are stored with the bundle. The exit code is 1 if they do not, and 2 where the
    test could not be held.
    """
    bundle, config = options.pop("bundle"), options.pop("config")
    if no_record and records is not None:
        raise click.UsageError("give either --record or --no-record")
    if set_limits:
        if server is not None or bundle is None or options["output"] is None:
            raise click.UsageError("--set-limits needs --bundle and -o, not --server")
        if no_record or records is not None:
            raise click.UsageError("--set-limits keeps no record")
        _set_limits(bundle, config, options)
        return
    _refuse_limit_options(options)
    if (server is None) == (bundle is None):
        raise click.UsageError("give either --server or --bundle")
    if config is not None and bundle is None:
        raise click.UsageError("--config is for --bundle")
    from spinert.constancy.holding import Subject

    _test(Subject(server=server, bundle=bundle, config=config), records, no_record)


def _refuse_limit_options(options: dict[str, Any]) -> None:
    """Refuse what has no effect on a test, by the name it was given by."""
    for parameter in click.get_current_context().command.params:
        value = options.get(str(parameter.name))
        # Zero is a value; False is a flag that was not given.
        if value is not None and value is not False:
            raise click.UsageError(f"{parameter.opts[-1]} is for --set-limits")


def _set_limits(bundle: Path, config: Path | None, options: dict[str, Any]) -> None:
    from spinert.constancy.holding import LimitOrder, measure_limits
    from spinert.constancy.limits import LimitChoices
    from spinert.runtime.report.progress import console

    output, is_replacing = options.pop("output"), options.pop("replace")
    chosen = {name: value for name, value in options.items() if value is not None}
    order = LimitOrder(
        bundle=bundle,
        config=config,
        output=output,
        choices=LimitChoices(**chosen),
        is_replacing=is_replacing,
    )
    made = measure_limits(order, console(stderr=True))
    limits = made.spec.constancy
    console().print(
        f"{made.spec.name} {made.spec.version} written to {output}: "
        f"{len(limits.cases)} phantoms, scores within {limits.score_tolerance:g}, "
        f"median latency up to {limits.latency_limit_s:g} s"
    )


def _test(subject: Subject, records: Path | None, no_record: bool) -> None:
    from spinert.constancy.holding import hold_test
    from spinert.constancy.page import page_from_run
    from spinert.constancy.records import (
        default_records,
        history_from_records,
        write_record,
    )
    from spinert.constancy.tables import run_view
    from spinert.runtime.report.progress import console

    told = console(stderr=True)
    run = hold_test(subject, told)
    console().print(run_view(run))
    directory = None if no_record else records or default_records()
    if directory is not None:
        page = page_from_run(run, history_from_records(directory))
        console().print(f"record: {write_record(directory, run, page)}")
    elif not no_record:
        told.print("no record is kept, for there is no home: name a folder: --record")
    if not run.report.has_passed:
        sys.exit(1)
