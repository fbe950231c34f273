"""Write the README's table of networks from results/networks.json.

Rows that are refused in FP16 at their official size are marked where
results/full-size-parity.json, which `make parity` writes, tells so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from harness import HERE, between_marks

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.report.deviations import figures_from_deviation

START = "<!-- networks: written by benchmarks/networks_table.py -->"
END = "<!-- end of networks -->"
RESULTS = HERE / "results" / "networks.json"
FULL_SIZE = HERE / "results" / "full-size-parity.json"
README = HERE.parent / "README.md"
_UNITS = {"boxes": " px"}
_BACKENDS = {"onnxruntime": "ONNX Runtime"}
_HIDDEN = frozenset({"labels"})
"""Counts that are zero wherever a bundle was written."""


def _figures(parity: Mapping[str, Any]) -> str:
    shown = [
        f"{name} {entry['max']:.2g}{_UNITS.get(name, '')}"
        for name, entry in sorted(parity["outputs"].items())
        if name not in _HIDDEN
    ]
    flips = parity["decision_flips"]
    told = {0: "", 1: ", 1 flip"}.get(flips, f", {flips} flips")
    return ", ".join(shown) + told


def _single(row: Mapping[str, Any]) -> str:
    told = [_figures(row["fp32"])]
    for entry in row.get("deviations", []):
        found = json_format.ParseDict(entry, pb.Deviation())
        original = f"{found.option} = {found.default_value}"
        told.append(f"against {original}: {figures_from_deviation(found)}")
    return "; ".join(told)


def _half(row: Mapping[str, Any], full_size: Mapping[str, Any]) -> str:
    halves = [form for form in row["forms"] if form["precision"] == "fp16"]
    told = _figures(halves[0]) if halves else "not converted"
    if _is_refused(row, full_size):
        told += "; **refused at the official size**"
    return told


def _is_refused(row: Mapping[str, Any], full_size: Mapping[str, Any]) -> bool:
    return any(
        verdict["fp16"] == "refused"
        and verdict["architecture"] == row["architecture"]
        and verdict["style"] in row["styles"]
        and verdict["options"] == row["options"]
        for verdict in full_size["rows"].values()
    )


def _engine(row: Mapping[str, Any]) -> str:
    for engine in row["build"].get("engines", []):
        if engine["network"] == row["role"]:
            return f"{engine['bytes'] / 1e6:.0f} MB, {engine['seconds']:.0f} s"
    # The rest of the message is the way out.
    return f"refused: {row['build'].get('error', '').partition(': set ')[0]}"


def _gate(row: Mapping[str, Any]) -> str:
    gate = row["gate"]
    return "passed" if gate.get("passed") else f"failed: {gate.get('error', '')}"


def _gated(results: Mapping[str, Any]) -> str:
    """Say what the gates of all rows ran."""
    found = {
        (check["backend"]["precision"].upper(), check["backend"]["name"])
        for row in results["rows"].values()
        for check in row.get("gate", {}).get("backends", [])
    }
    if len(found) > 1:
        raise ValueError(f"gates ran different things, measure again: {sorted(found)}")
    return "".join(f": {p} on {_BACKENDS.get(name, name)}" for p, name in found)


def table(results: Mapping[str, Any], full_size: Mapping[str, Any]) -> str:
    """Return the table in Markdown."""
    lines = [
        "| network | key layout | FP32 ONNX against PyTorch | FP16 ONNX against FP32 "
        f"(emulated) | TensorRT-RTX FP16 engine, SM {results['sm']} "
        f"| gate{_gated(results)} |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in sorted(results["rows"].items()):
        chosen = ", ".join(f"{k} = {v}" for k, v in row["options"].items())
        network = row["architecture"] + (f" ({chosen})" if chosen else "")
        if "error" in row:
            raise ValueError(f"{name} was not exported: {row['error']}")
        cells = (network, ", ".join(row["styles"]), _single(row))
        cells += (_half(row, full_size), _engine(row), _gate(row))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def full_size_verdicts(path: Path = FULL_SIZE) -> dict[str, Any]:
    """Read what `make parity` found; nothing where it has not been run."""
    found: dict[str, Any] = {"rows": {}}
    return json.loads(path.read_text()) if path.exists() else found


def renewed(
    page: str, results: Mapping[str, Any], full_size: Mapping[str, Any] | None = None
) -> str:
    """Return the page with the table between its marks."""
    verdicts = full_size_verdicts() if full_size is None else full_size
    return between_marks(page, (START, END), table(results, verdicts))


def main(readme: Path = README) -> None:
    results = json.loads(RESULTS.read_text())
    readme.write_text(renewed(readme.read_text(), results))


if __name__ == "__main__":
    main()
