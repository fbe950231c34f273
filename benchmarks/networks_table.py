"""Write the README's table of networks from results/networks.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import HERE

START = "<!-- networks: written by benchmarks/networks_table.py -->"
END = "<!-- end of networks -->"
RESULTS = HERE / "results" / "networks.json"
README = HERE.parent / "README.md"
_UNITS = {"boxes": " px"}
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


def _half(row: Mapping[str, Any]) -> str:
    halves = [form for form in row["forms"] if form["precision"] == "fp16"]
    return _figures(halves[0]) if halves else "not converted"


def _engine(row: Mapping[str, Any]) -> str:
    for engine in row["build"].get("engines", []):
        if engine["network"] == row["role"]:
            return f"{engine['bytes'] / 1e6:.0f} MB, {engine['seconds']:.0f} s"
    # The rest of the message is the way out.
    return f"refused: {row['build'].get('error', '').partition(': set ')[0]}"


def _gate(row: Mapping[str, Any]) -> str:
    gate = row["gate"]
    return "passed" if gate.get("passed") else f"failed: {gate.get('error', '')}"


def table(results: Mapping[str, Any]) -> str:
    """Return the table in Markdown."""
    lines = [
        "| network | key layout | FP32 ONNX against PyTorch | FP16 ONNX against FP32 "
        f"(emulated) | TensorRT-RTX FP16 engine, SM {results['sm']} | gate |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in sorted(results["rows"].items()):
        chosen = ", ".join(f"{k} = {v}" for k, v in row["options"].items())
        network = row["architecture"] + (f" ({chosen})" if chosen else "")
        if "error" in row:
            raise ValueError(f"{name} was not exported: {row['error']}")
        cells = (network, ", ".join(row["styles"]), _figures(row["fp32"]), _half(row))
        lines.append(f"| {' | '.join((*cells, _engine(row), _gate(row)))} |")
    return "\n".join(lines)


def renewed(page: str, results: Mapping[str, Any]) -> str:
    """Return the page with the table between its marks."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{table(results)}\n{END}{after}"


def main(readme: Path = README) -> None:
    results = json.loads(RESULTS.read_text())
    readme.write_text(renewed(readme.read_text(), results))


if __name__ == "__main__":
    main()
