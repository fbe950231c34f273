"""A real `spinert serve` in a process of its own, and bundles it can serve."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.fake import FakeBackend
from spinert.runtime.engine.lane import batch_inputs
from spinert.runtime.engine.prepare import prepared_from_image
from spinert.runtime.image import Image, Photometric
from support.bundles import tiny_spec, write_bundle

START_S = 60


def write_served_bundle(
    directory: Path, spec: pb.Bundle | None = None, *, cost_ms: int = 0
) -> Path:
    """Write the tiny bundle with a golden set of one frame, for the fake backend.

    `cost_ms` is the time that every call of a network takes.
    """
    spec = pb.Bundle.FromString((spec or tiny_spec()).SerializeToString())
    files = {f"networks/{role}.onnx": b"fake" for role in spec.networks}
    files["golden/ramp.png"] = _png(_ramp())
    frame = spec.golden.frames.add(
        name="ramp",
        image="golden/ramp.png",
        photometric_interpretation="MONOCHROME2",
        bits_stored=12,
    )
    spec.golden.batch_sizes.append(1)
    image = Image(pixels=_ramp(), bits_stored=12, photometric=Photometric.MONOCHROME2)
    prepared = prepared_from_image(image, spec, sorted(spec.networks))
    for role, network in spec.networks.items():
        tensor = prepared.inputs[role]
        case = frame.networks[role]
        case.height, case.width = tensor.size
        case.input_sha256 = _sha256(tensor.pixels)
        case.outputs = f"golden/ramp.{role}.npz"
        files[case.outputs] = _npz(_fake_outputs(role, network, tensor))
        network.import_options["fake.cost_ms"] = str(cost_ms)
        network.parity.batch_sizes.append(1)
        names = ("logits",) if role == "classifier" else ("boxes", "scores", "labels")
        for name in names:
            network.parity.outputs.add(output=name, tolerance_abs=1e-6)
    directory.mkdir(parents=True, exist_ok=True)
    return write_bundle(directory, spec, files)


def _ramp() -> np.ndarray:
    return np.arange(96 * 80, dtype=np.uint16).reshape(96, 80) % 4096


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    PillowImage.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _npz(arrays: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _sha256(pixels: np.ndarray) -> str:
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()


def _fake_outputs(role: str, network: pb.Network, tensor: Any) -> Mapping[str, Any]:
    backend = FakeBackend(BackendOptions())
    backend.load(role, Path(), network)
    outputs = backend.run(role, batch_inputs(network.input, [tensor]))
    return {name: array[0] for name, array in outputs.items()}


@dataclass
class RunningServer:
    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def events(self) -> list[dict[str, Any]]:
        """Return its log so far; every line must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self, timeout_s: float = 30) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


def toml_from(tables: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines)


@contextmanager
def serving(
    bundle: Path, work: Path, *, log_level: str = "INFO", **tables: Mapping[str, Any]
) -> Iterator[RunningServer]:
    """Run `spinert serve` on a free port until the block ends.

    `work` takes its config, log and state; `tables` are merged into the settings,
    as in `serving(bundle, tmp_path, engine={"max_batch": 2})`.
    """
    with launched(bundle, work, log_level=log_level, **tables) as server:
        server.address = wait_for_event(server, "ready")["address"]
        yield server


@contextmanager
def launched(
    bundle: Path, work: Path, *, log_level: str = "INFO", **tables: Mapping[str, Any]
) -> Iterator[RunningServer]:
    """As `serving`, without waiting until it is ready."""
    settings: dict[str, dict[str, Any]] = {
        "server": {"listen": "127.0.0.1:0"},
        "decode": {"workers": 1},
        "backend": {"name": "fake"},
        "golden": {"state_dir": str(work / "state")},
    }
    for name, table in tables.items():
        settings[name] = settings.get(name, {}) | dict(table)
    work.mkdir(parents=True, exist_ok=True)
    config, log = work / "config.toml", work / "server.log"
    config.write_text(toml_from(settings))
    command = [sys.executable, "-m", "support.serve", str(bundle), str(config)]
    paths = [str(Path(__file__).parents[1]), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*command, log_level], stderr=stderr, env=environment, cwd=work
        )
    try:
        yield RunningServer("", process, log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for_event(server: RunningServer, name: str) -> dict[str, Any]:
    """Return the first event called `name`; fail when the server has ended."""
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s:
        for line in server.log.read_text().splitlines():
            if f'"event": "{name}"' in line:
                found: dict[str, Any] = json.loads(line)
                return found
        if server.process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(f"no event {name!r}:\n{server.log.read_text()[-3000:]}")
