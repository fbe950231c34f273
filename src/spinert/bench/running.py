"""A whole run: from an order to a report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from rich.console import Console

from spinert.bench.errors import SubjectLost
from spinert.bench.figures import Figure
from spinert.bench.frames import RAW, FramePlan, LoadFrame, frames_from_plan
from spinert.bench.order import BenchOrder, Part
from spinert.bench.pipeline import opened_pipeline
from spinert.bench.report import assembled
from spinert.bench.run_parts import MEASURES, Run, probe, subject_from_order
from spinert.bench.scaling import cold_start, cold_start_figures
from spinert.bench.serving import WatchedServer, watched_server
from spinert.proto import inference_pb2 as pb
from spinert.runtime.bundle import load_bundle
from spinert.runtime.client import Client, RequestFailed

__all__ = ["run_bench"]

_LEVEL_EDGE_PX: Final = 1250
"""Long edge of the frame of the levels: about 2 MB of 16-bit pixels."""
_READY_S: Final = 5.0


def run_bench(order: BenchOrder, console: Console) -> dict[str, Any]:
    """Measure what was asked for; `console` is told what is being done.

    Raises:
        BenchError: Something could not be measured.
        SpinertError: The bundle cannot be served here.
    """
    bundle = None if order.bundle is None else load_bundle(order.bundle)
    if order.server is not None:
        _info(order.server)  # is there anything to draw phantoms for?
    console.print("drawing phantoms")
    frame, mix = _frames(order)
    early: dict[str, Any] = {}
    figures: list[Figure] = []
    if Part.COLD_START in order.parts and order.bundle is not None:
        console.print("measuring: cold start")
        early["cold_start"] = cold_start(subject_from_order(order))
        figures += cold_start_figures(early["cold_start"])
    with ExitStack() as stack:
        pipeline = None
        if bundle is not None and order.server is None:
            pipeline = stack.enter_context(opened_pipeline(bundle, order.settings))
        server = stack.enter_context(_server(order))
        run = Run(
            order=order,
            frame=frame,
            mix=mix,
            server=server,
            pipeline=pipeline,
            bundle=bundle,
            console=console,
            parts=early,
            figures=figures,
        )
        subject = _described(run)
        probe(run)
        for part, measure in MEASURES:
            if part & order.parts:
                measure(run)
        if isinstance(server, WatchedServer):
            run.parts["memory"] = server.processes.memory()
    return assembled(subject, order.told(), run.parts, run.figures)


def _frames(order: BenchOrder) -> tuple[LoadFrame, tuple[LoadFrame, ...]]:
    one = FramePlan(syntaxes=(RAW,), long_edges_px=(_LEVEL_EDGE_PX,), seed=order.seed)
    many = FramePlan(
        syntaxes=order.syntaxes, long_edges_px=order.long_edges_px, seed=order.seed + 1
    )
    return frames_from_plan(one)[0], frames_from_plan(many)


@contextmanager
def _server(order: BenchOrder) -> Iterator[WatchedServer | str]:
    if order.server is not None:
        yield order.server
        return
    with watched_server(subject_from_order(order).bundle, order.config) as server:
        yield server


def _described(run: Run) -> dict[str, Any]:
    info = _info(run.address)
    return {
        "where": "remote" if isinstance(run.server, str) else "local",
        "bundle_name": info.bundle_name,
        "bundle_version": info.bundle_version,
        "bundle_sha256": info.bundle_sha256,
        "notice": info.notice,
        "backend": info.backend,
        "precision": info.precision,
        "networks": {entry.role: entry.architecture for entry in info.networks},
        "runtime_version": info.runtime_version,
        "degraded": info.degraded,
    }


def _info(address: str) -> pb.ServerInfo:
    try:
        with Client(address, device="bench") as client:
            return client.wait_ready(timeout_s=_READY_S)
    except RequestFailed as failure:
        raise SubjectLost(
            f"no answer from {address}: {failure.reason or failure.status.name}; "
            "see that `spinert serve` is running and ready"
        ) from failure
