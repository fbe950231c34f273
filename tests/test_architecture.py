"""The shape of the code, checked like any other behaviour."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each part may import only from those listed: arrows point one way.
MAY_IMPORT = {
    "export": {"export", "proto", "phantom"},
    "runtime": {"runtime", "proto"},
    "proto": {"proto"},
    "src/spinert/phantom": {"phantom"},
    "src/spinert/evaluation": {"evaluation", "runtime", "proto"},
    "src/spinert/constancy": {"constancy", "phantom", "runtime", "proto"},
    "src/spinert/bench": {"bench", "phantom", "runtime", "proto"},
    "src/spinert/simulator": {"simulator", "runtime"},
}
SOURCES = [
    path
    for part in MAY_IMPORT
    for path in sorted((ROOT / part).rglob("*.py"))
    if "_pb2" not in path.name
]
COMMANDS = sorted((ROOT / "src" / "spinert" / "commands").glob("*.py"))
OURS = SOURCES + COMMANDS + sorted((ROOT / "src" / "spinert").glob("*.py"))


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    return plain | {
        f"{n.module}.{a.name}" if n.module == "spinert" else str(n.module)
        for n in nodes
        if isinstance(n, ast.ImportFrom)
        for a in n.names
    }


def part_of(path: Path) -> str:
    """Return the innermost part that holds a file."""
    inside = [p for p in MAY_IMPORT if path.is_relative_to(ROOT / p)]
    return max(inside, key=len)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    ours = {
        name.split(".")[1] for name in imported(path) if name.startswith("spinert.")
    } - {"__version__"}
    assert ours <= MAY_IMPORT[part_of(path)]


@pytest.mark.parametrize("path", OURS, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 300


def modules_after(statement: str) -> set[str]:
    probe = f"{statement}; import sys; print(*sys.modules)"
    return set(
        subprocess.check_output([sys.executable, "-c", probe], text=True).split()
    )


def test_the_runtime_never_loads_torch_or_onnx():
    loaded = modules_after(
        "import spinert.runtime.server.serve, spinert.runtime.client"
    )
    assert not loaded & {"torch", "onnx", "spinert.export"}


def test_a_client_needs_no_server_packages():
    loaded = modules_after("import spinert.runtime.client")
    # grpc itself imports the empty package grpc_health where it is installed.
    server_only = {"onnxruntime", "imagecodecs", "grpc_health.v1", "pydicom", "torch"}
    assert not loaded & server_only


def test_the_command_line_starts_light():
    loaded = modules_after("import spinert.cli")
    assert not loaded & {"numpy", "grpc", "torch", "onnxruntime", "pydicom"}
