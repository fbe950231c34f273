"""What tests on a real GPU share; see support.gpus for what they do without one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.family_bundles import CLASSIFIERS, MAX_BATCH, write_family_bundle
from support.gpus import MODULES, closed_backends, missing, require_open

from spinert.runtime import backends
from spinert.runtime.backends import Backend, BackendOptions
from spinert.runtime.bundle import LoadedBundle, load_bundle
from spinert.runtime.compiled.gpu import Gpu, gpu_of_this_machine
from spinert.runtime.device import Device
from spinert.runtime.device.pycuda import open_pycuda_device
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.errors import BackendUnavailable

Opener = Callable[..., Backend]


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    try:
        return gpu_of_this_machine()
    except BackendUnavailable as error:
        missing(error.message)


@pytest.fixture
def device(gpu: Gpu) -> Iterator[Device]:
    try:
        device = open_pycuda_device()
    except BackendUnavailable as error:
        missing(error.message)
    with device.current():
        yield device
    device.close()


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Engines are built once for all tests of this run."""
    return tmp_path_factory.mktemp("cache") / "engines"


@pytest.fixture(scope="session")
def closed(gpu: Gpu, engines: Path) -> dict[str, str]:
    """Why some backends cannot be opened here."""
    return closed_backends(engines)


@pytest.fixture(scope="session", params=MODULES)
def backend_name(
    request: pytest.FixtureRequest, gpu: Gpu, closed: dict[str, str]
) -> str:
    name = str(request.param)
    require_open(name, closed, gpu)
    return name


@pytest.fixture
def open_backend(backend_name: str, engines: Path) -> Iterator[Opener]:
    """Open a bundle on the GPU; everything is closed in the end."""
    opened: list[Backend] = []

    def open_bundle(bundle: LoadedBundle, **options: object) -> Backend:
        settings = BackendOptions(
            cache_dir=engines,
            max_batch=MAX_BATCH,
            **options,  # type: ignore[arg-type]
        )
        backend = backends.load(backend_name, settings)
        opened.append(backend)
        load_networks(backend, bundle)
        return backend

    yield open_bundle
    for backend in opened:
        backend.close()


@pytest.fixture(scope="session")
def family_bundle(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, str], LoadedBundle]:
    """Export a detector with the three DenseNets, once for each kind of backend."""
    made: dict[tuple[str, bool], LoadedBundle] = {}

    def bundle(detector: str, backend_name: str) -> LoadedBundle:
        # TensorRT-RTX has no RoiAlign.
        key = detector, backend_name == "tensorrt-rtx"
        if key not in made:
            folder = tmp_path_factory.mktemp(detector)
            path = write_family_bundle(folder, detector, CLASSIFIERS, portable=key[1])
            made[key] = load_bundle(path)
        return made[key]

    return bundle


@pytest.fixture(scope="session")
def used_mib() -> Callable[[], int]:
    """Memory of the GPU in use, as nvidia-smi tells it."""
    command = shutil.which("nvidia-smi")
    if command is None:
        missing("nvidia-smi is not installed")

    def used() -> int:
        query = [command, "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        return int(subprocess.check_output(query, text=True).split()[0])

    return used
