"""The C++ device example, built, and run against a server."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from spinert.runtime.config import ServerSettings
from spinert.runtime.server.front import Front
from support.fronts import ScriptedEngine, serving_front
from support.proxies import CuttingProxy, cutting_proxy

SHARED = "--shared-memory"
LOST = "connection lost, resuming"

_ROOT = Path(__file__).parents[2]
_REQUIRED = "SPINERT_REQUIRE_TOOLS"

Done = subprocess.CompletedProcess[str]


def _in_shared_memory() -> frozenset[Path]:
    return frozenset(Path("/dev/shm").glob("spinert-device-*"))


_BEFORE = _in_shared_memory()
"""Left by devices that were killed, which is no fault of those to come."""


def _missing_tools() -> list[str]:
    tools = ("cmake", "protoc", "grpc_cpp_plugin")
    missing = [tool for tool in tools if not shutil.which(tool)]
    probe = ["pkg-config", "--exists", "grpc++", "protobuf"]
    if not shutil.which("pkg-config") or subprocess.run(probe).returncode:
        missing.append("libgrpc++-dev and libprotobuf-dev")
    return missing


def built_device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program, which all test processes build in one place.

    Skips the test where tools for it are missing.
    """
    if missing := _missing_tools():
        # CI installs them, so that there a missing one is a failure.
        end = pytest.fail if os.environ.get(_REQUIRED) else pytest.skip
        end(f"the C++ example needs {', '.join(missing)}")
    base = tmp_path_factory.getbasetemp()
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    build = (base if alone else base.parent) / "device-example"
    options = ["-DSPINERT_DEVICE_EXAMPLE=ON", "-DCMAKE_BUILD_TYPE=Debug"]
    with FileLock(f"{build}.lock"):
        configure = ["cmake", "-S", _ROOT, "-B", build, *options]
        subprocess.run(configure, check=True, capture_output=True)
        subprocess.run(["cmake", "--build", build], check=True, capture_output=True)
    return build / "examples" / "device" / "spinert_device"


def run(device: Path, *arguments: object) -> Done:
    """Run the device to its end."""
    command = [str(device), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def start(
    device: Path, proxy: CuttingProxy, options: Iterable[str]
) -> asyncio.Task[Done]:
    """Run the device on a proxy while the event loop goes on."""
    run_it = asyncio.to_thread(run, device, *options, proxy.address)
    return asyncio.create_task(run_it)


def through_a_proxy(
    device: Path,
    server: Any,
    cuts: Iterable[tuple[str, int]] = (),
    options: Iterable[str] = (),
) -> tuple[Done, CuttingProxy]:
    """Run the device once; return what it did, and the proxy that broke at `cuts`."""

    async def main() -> tuple[Done, CuttingProxy]:
        async with cutting_proxy(server.address) as proxy:
            for way, count in cuts:
                proxy.cuts[way] = [count]
            done = await asyncio.to_thread(run, device, *options, proxy.address)
            return done, proxy

    return asyncio.run(main())


def verdict_of(done: Done) -> list[str]:
    """Return what was printed without the times."""
    timed = ("stage ", "total ")
    return [line for line in done.stdout.splitlines() if not line.startswith(timed)]


def left_in_shared_memory() -> list[Path]:
    """Return what devices of these tests left there; others may be running."""
    found = _in_shared_memory() - _BEFORE
    mapped = []
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):  # it has ended, or is somebody else's
            mapped.append(maps.read_text())
    used = "".join(mapped)
    return [path for path in found if path.name not in used and path.exists()]


@asynccontextmanager
async def fronted_device(
    device: Path, engine: ScriptedEngine, options: Iterable[str] = (), **settings: Any
) -> AsyncIterator[tuple[Front, CuttingProxy, asyncio.Task[Done]]]:
    """Yield a front, a proxy before it, and the device that runs on both."""
    server = ServerSettings(listen="127.0.0.1:0", **settings)
    async with (
        asyncio.timeout(60),  # an answer that never comes must fail a test
        serving_front(engine, server) as front,
        cutting_proxy(front.address) as proxy,
    ):
        yield front, proxy, start(device, proxy, options)
