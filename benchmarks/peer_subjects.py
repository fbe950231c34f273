"""Servers that are compared: SpineRT, a bare echo, and the peers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvloop
from harness import HERE, Server, running, spinert_server
from peer_networks import Question
from peer_ways import PEERS, Way, echo_way, kserve_ways, spinert_way

from spinert.bench.processes import ProcessTree

START_S = 120
KSERVE_CONFIG = """
[backend]
threads = 1
[engine]
max_batch = 8
max_delay_ms = 0
prepare_threads = 1
[decode]
workers = 1
"""
"""As the peers: one network thread, batches of up to eight, released at once."""


@dataclass(kw_only=True)
class Subject:
    """A server that runs."""

    tree: ProcessTree
    address: str
    ways: list[Way]
    may_sleep: bool = True
    """It stands being stopped while others are measured."""

    def address_of(self, way: Way) -> str:
        host, _, port = self.address.partition(":")
        return f"{host}:{int(port) + way.port_offset}"

    def pause(self, is_paused: bool) -> None:
        if not self.may_sleep:
            return
        for process in self.tree.processes():
            with suppress(psutil.Error):
                process.suspend() if is_paused else process.resume()


@contextmanager
def peer(name: str, asked: Question, work: Path) -> Iterator[Subject]:
    """Run a peer in its environment; a RuntimeError says why it does not."""
    about = PEERS[name]
    python = environment(about.folder) / "bin" / "python"
    port = free_ports()
    log = work / f"{name}.log"
    variables = {
        **os.environ,
        # PyTriton's stub must find the very libpython of the interpreter.
        "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR") or "",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(HERE / "peers" / "shared"),
    }
    server = HERE / "peers" / about.folder / "server.py"
    command = [str(python), str(server), str(asked.network), str(port), *about.words]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=variables, cwd=work
        )
    subject = Subject(
        tree=ProcessTree(psutil.Process(process.pid)),
        address=f"127.0.0.1:{port}",
        ways=about.ways(asked),
        may_sleep=about.folder != "ray_serve",
    )
    try:
        _wait_ready(subject, process, log)
        yield subject
    finally:
        _end(subject, process)


def environment(folder: str) -> Path:
    """Return the virtual environment of a peer; make it on its first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    base = os.environ.get("SPINERT_PEERS", str(cache / "spinert-peers"))
    directory = Path(base) / folder
    maker = HERE / "peers" / "make_environment"
    done = subprocess.run(
        [str(maker), folder, str(directory)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": sys.executable},
    )
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise RuntimeError(f"does not install: {why[:200]}")
    return directory


@contextmanager
def spinert_kserve(bundle: Path, asked: Question, work: Path) -> Iterator[Subject]:
    """Run `spinert serve` with the same network, asked for alone."""
    # Streamed first, as the fronts before it.
    ways = list(reversed(kserve_ways(asked).values()))
    with (
        spinert_server(bundle, KSERVE_CONFIG, work) as server,
        _awake_at_the_end(server, ways) as subject,
    ):
        yield subject


@contextmanager
def spinert_front(bundle: Path, messages: list[bytes]) -> Iterator[Subject]:
    """Run SpineRT's front over an engine that answers at once."""
    command = [sys.executable, str(HERE / "front_server.py"), str(bundle)]
    way = spinert_way(messages)
    with running(command) as server, _awake_at_the_end(server, [way]) as subject:
        yield subject


@contextmanager
def echo(message: bytes) -> Iterator[Subject]:
    """Run the bare server that sends every message back."""
    command = [sys.executable, str(HERE / "echo_server.py")]
    way = echo_way(message)
    with running(command) as server, _awake_at_the_end(server, [way]) as subject:
        yield subject


@contextmanager
def _awake_at_the_end(server: Server, ways: list[Way]) -> Iterator[Subject]:
    """Yield a server of ours as a subject; one that is stopped could not be ended."""
    subject = Subject(tree=server.tree, address=server.address, ways=ways)
    try:
        yield subject
    finally:
        subject.pause(False)


def free_ports(count: int = 3) -> int:
    """Return a port that is free together with those after it."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port + count < 65536 and all(_is_free(port + i) for i in range(count)):
            return int(port)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _wait_ready(subject: Subject, process: subprocess.Popen[bytes], log: Path) -> None:
    way = subject.ways[0]
    until = time.monotonic() + START_S
    why = "no answer"
    while time.monotonic() < until and process.poll() is None:
        try:
            uvloop.run(way.ask(subject.address_of(way), 0.01, 1))
            return
        except Exception as error:  # whatever a server that starts may do
            why = f"{type(error).__name__}: {str(error)[:150]}"
            time.sleep(0.5)
    lines = log.read_text(errors="replace").strip().splitlines()
    last = lines[-1][:200] if lines else ""
    raise RuntimeError(f"does not start: {why}; its log ends with: {last}")


def _end(subject: Subject, process: subprocess.Popen[bytes]) -> None:
    tree = subject.tree.processes()
    subject.pause(False)
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for left in tree:
        with suppress(psutil.Error):
            left.kill()
