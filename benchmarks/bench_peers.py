"""SpineRT beside its peers: same network, same machine, same run, taking turns.

All servers run at once; those that are not measured are stopped (SIGSTOP), Ray
excepted, whose idle time is told. Of every round the throughput, and the processor
time of the server's processes, are told as ratios to SpineRT's in the same round.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from bench_front import COLUMNS, OPENING, ROWS
from harness import HERE, machine, ratio, write_json
from load import raw_frame, spinert_messages
from peer_clients import Round
from peer_networks import EDGE, Question, mean_network, question_from_network
from peer_subjects import Subject, echo, peer, spinert_front, spinert_kserve
from peer_ways import PEERS, Way
from tiny_bundle import write_tiny_bundle

DEPTH = 8
OURS = "spinert-kserve streamed"
FRONT = "spinert-front streamed"
ANSWERS_OTHERWISE = ("echo", "spinert-front")
"""They run no network."""

Maker = Callable[[], AbstractContextManager[Subject]]

logger = logging.getLogger("bench_peers")


@dataclass(kw_only=True)
class Series:
    """One way to ask one server, round by round."""

    client: str
    per_s: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


def measure(
    work: Path,
    rounds: int = 5,
    seconds: float = 2.0,
    peers: Sequence[str] = tuple(PEERS),
) -> dict[str, Any]:
    """Compare with those of `peers` that install; the others are told with the reason.

    `front` compares fronts: frames of 602 KB over one stream against the peers' unary
    or streamed requests of as many bytes, an engine that answers at once in the place
    of the network. `kserve` compares the very same request to the very same network,
    which takes the mean of an image.
    """
    network = work / "mean.onnx"
    network.write_bytes(mean_network())
    asked = question_from_network(network)
    trivial = write_tiny_bundle(work / "trivial-peers", edge=32, channels=1)
    frames = [raw_frame(ROWS, COLUMNS, seed) for seed in range(16)]
    messages = [OPENING, *spinert_messages(frames)]
    fronts: dict[str, Maker] = {
        "echo": partial(echo, messages[1]),
        "spinert-front": partial(spinert_front, trivial, messages),
    }
    makers = fronts | _same_network(asked, peers, work)
    return _compared(makers, asked, rounds, seconds)


def measure_network(
    network: Path,
    work: Path,
    rounds: int = 5,
    seconds: float = 2.0,
    peers: Sequence[str] = tuple(PEERS),
) -> dict[str, Any]:
    """Compare with the same request to the same network, an ONNX file of a classifier.

    It takes `image`, (N, 1, 224, 224) in uint8 or (N, C, 224, 224) in float32, and
    gives `logits`, (N, 1).
    """
    asked = question_from_network(network)
    makers = _same_network(asked, peers, work)
    return _compared(makers, asked, rounds, seconds)


def _same_network(
    asked: Question, peers: Sequence[str], work: Path
) -> dict[str, Maker]:
    folder = work / f"{asked.network.stem}-bundle"
    network = asked.network.read_bytes()
    bundle = write_tiny_bundle(folder, edge=EDGE, channels=1, classifier=network)
    return {
        "spinert-kserve": partial(spinert_kserve, bundle, asked, work),
        **{name: partial(peer, name, asked, work) for name in peers},
    }


def _compared(
    makers: Mapping[str, Maker], asked: Question, rounds: int, seconds: float
) -> dict[str, Any]:
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        subjects: dict[str, Subject] = {}
        for name, make in makers.items():
            try:
                subjects[name] = stack.enter_context(make())
            except RuntimeError as error:
                absent[name] = str(error)
                logger.warning("%s %s", name, error)
                continue
            subjects[name].pause(True)
        series, failed = _rounds(subjects, asked, rounds, seconds)
        about = {name: _about(subject) for name, subject in subjects.items()}
    return {
        "what": f"{len(asked.pixels):,} bytes a request, {DEPTH} in flight, "
        "1 network thread",
        "series": {
            name: {
                "client": one.client,
                "per_s": [round(v, 1) for v in one.per_s],
                "cpu_ms_per_request": [round(v, 3) for v in one.cpu_ms],
            }
            for name, one in series.items()
        },
        "throughput_ours_over": _ratios(series, lambda one: one.per_s),
        "cpu_theirs_over_ours": _ratios(series, lambda one: one.cpu_ms, turned=True),
        "servers": about,
        "absent": absent | failed,
    }


def _rounds(
    subjects: dict[str, Subject], asked: Question, rounds: int, seconds: float
) -> tuple[dict[str, Series], dict[str, str]]:
    """Measure everybody once a round, every other round the other way about.

    So what a machine does slower from start to end is no one's advantage.

    Returns:
        What was measured, by server and way; and the peers that failed on the way,
        with their reasons, of which nothing is told.
    """
    series: dict[str, Series] = {}
    failed: dict[str, str] = {}
    # The first round warms up, caches, connections and batches; and sets the order.
    for number in range(rounds + 1):
        lasts_s = seconds if number else min(1.0, seconds)
        order = list(subjects.items())
        for name, subject in reversed(order) if number % 2 else order:
            if name in failed:
                continue
            try:
                turn = _turn(name, subject, asked, lasts_s)
            except Exception as error:  # whatever a server under load may do
                if name not in PEERS:
                    raise
                failed[name] = f"failed under load: {str(error)[:200]}"
                subject.pause(True)
                logger.warning("%s %s", name, failed[name])
                continue
            for way, done, spent_s in turn:
                one = series.setdefault(f"{name} {way.name}", Series(client=way.client))
                if number:
                    one.per_s.append(done.answers / done.seconds)
                    # The first request, before the clock, costs as much as others.
                    one.cpu_ms.append(1000 * spent_s / (done.answers + 1))
    whole = {k: v for k, v in series.items() if k.split()[0] not in failed}
    return whole, failed


def _turn(
    name: str, subject: Subject, asked: Question, seconds: float
) -> list[tuple[Way, Round, float]]:
    """Ask one server in each of its ways; return what came, and its CPU seconds."""
    subject.pause(False)
    found = []
    for way in subject.ways:
        before_s = subject.tree.cpu_s()
        done = uvloop.run(way.ask(subject.address_of(way), seconds, DEPTH))
        spent_s = subject.tree.cpu_s() - before_s
        if name not in ANSWERS_OTHERWISE and not asked.is_answered_by(done.first):
            raise RuntimeError(f"{name} answers otherwise: {done.first[:80]!r}")
        found.append((way, done, spent_s))
    subject.pause(True)
    return found


def _about(subject: Subject) -> dict[str, Any]:
    subject.pause(False)
    before = subject.tree.cpu_s()
    time.sleep(1.0)
    idle = subject.tree.cpu_s() - before
    memory = subject.tree.memory()
    subject.pause(True)
    return {
        "processes": len(memory),
        "rss_mib": round(sum(process["rss_mib"] for process in memory), 1),
        "idle_cpu_share": round(idle, 3),
    }


def _ratios(
    series: dict[str, Series],
    values: Callable[[Series], list[float]],
    turned: bool = False,
) -> dict[str, dict[str, Any]]:
    """Return each of our two sides over every other series, paired by round."""
    told: dict[str, dict[str, Any]] = {}
    for ours in (FRONT, OURS):
        if ours not in series:
            continue
        told[ours] = {}
        for name, one in series.items():
            if name.startswith("spinert"):
                continue
            pair = (values(series[ours]), values(one))
            told[ours][name] = ratio(*(pair[::-1] if turned else pair)).as_json()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--peers", nargs="*", choices=[*PEERS], default=[*PEERS])
    parser.add_argument(
        "--network", type=Path, help="an ONNX classifier; none: the mean, and fronts"
    )
    parser.add_argument("--output", type=Path, default=HERE / "results" / "peers.json")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    how = (arguments.rounds, arguments.seconds, arguments.peers)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if arguments.network:
            found = measure_network(arguments.network, work, *how)
        else:
            found = measure(work, *how)
    write_json(arguments.output, {"machine": machine(), **found})
    for ours, ratios in found["throughput_ours_over"].items():
        for name, told in ratios.items():
            print(f"{ours} / {name}: {told['median']} ({told['min']}-{told['max']})")


if __name__ == "__main__":
    main()
