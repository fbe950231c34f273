"""Write from results/reference.* what the README and docs/reference.md show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import HERE, between_marks

MARKS = (
    "<!-- reference: written by benchmarks/reference_table.py -->",
    "<!-- end of reference -->",
)
RESULTS = HERE / "results" / "reference.json"
TABLES = HERE / "results" / "reference.md"
README = HERE.parent / "README.md"
PAGE = HERE.parent / "docs" / "reference.md"


def _bounded(value: Mapping[str, Any], form: str) -> str:
    low, high = (format(value[edge], form) for edge in ("low", "high"))
    return f"{value['value']:{form}} ({low} to {high})"


def _compared(name: str, own: Mapping[str, Any], pair: Mapping[str, Any]) -> str:
    difference = _bounded(pair["difference"], "+.4f")
    return f"| {name} | {_bounded(own, '.3f')} | {pair['b']:.3f} | {difference} |"


def _listed(count: int, of: str) -> str:
    return f"{count} {of}" if count else f"no {of}"


def table(report: Mapping[str, Any]) -> str:
    """Return the README's table in Markdown."""
    versus, images = report["comparison"], report["images"]["evaluated"]
    ensemble = report["classification"][-1]
    other = versus["subject"]["precision_text"]
    framework, detector = report["framework"], report["detector"]
    each = (
        ("AUROC", ensemble["auroc"], versus["auroc"]),
        ("mAP@0.5, detector only", detector["map50"], versus["detector_map50"]),
        ("mAP@0.5, whole framework", framework["map50"], versus["map50"]),
    )
    alone = [
        (f"{name} at {ensemble['threshold']:.3g}", _bounded(ensemble[name], ".3f"))
        for name in ("sensitivity", "specificity")
    ]
    alone += [
        (f"AP@0.5 {entry['label']} ({entry['lesions']})", f"{entry['ap50']:.3f}")
        for entry in detector["classes"]
    ]
    flips = (
        f"{_listed(len(versus['image_flips']), 'images')}, "
        f"{_listed(len(versus['finding_flips']), 'findings')}"
    )
    lines = [
        f"| {images:,} unseen phantoms | {report['subject']['precision_text']} "
        f"| {other} | difference |",
        "|---|---|---|---|",
        *(_compared(*entry) for entry in each),
        *(f"| {name} | {value} | | |" for name, value in alone),
        f"| decided otherwise | | | {flips} |",
    ]
    return "\n".join(lines)


def contents() -> dict[Path, str]:
    """Return what each page shows."""
    body = TABLES.read_text().rpartition("-->\n")[2].strip()
    return {README: table(json.loads(RESULTS.read_text())), PAGE: body}


def main() -> None:
    for path, content in contents().items():
        path.write_text(between_marks(path.read_text(), MARKS, content))


if __name__ == "__main__":
    main()
