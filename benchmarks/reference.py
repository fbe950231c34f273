"""The reference bundle on 1,000 phantoms it has not seen, in FP32 and FP16.

Writes results/reference.json (the report of `spinert evaluate`) and
results/reference.md (the paper's tables); reference_table.py writes from them what
the README and docs/reference.md show.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from harness import HERE

from spinert.export.reference.settings import settings_from_toml


def spinert(*words: str | Path) -> None:
    """Run a command of ours, its progress shown."""
    command = [sys.executable, "-m", "spinert", *map(str, words)]
    subprocess.run(command, check=True)


def main() -> None:
    """Draw the phantoms unless they are there, evaluate, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="some 7 GB")
    arguments = parser.parse_args()
    data, report = arguments.work / "phantoms", arguments.work / "report"
    if not (data / "annotations" / "test.csv").exists():
        split = settings_from_toml().data.splits["test"]
        count, seed = str(split.count), str(split.seed)
        spinert("phantom", "-n", count, "-o", data, "--seed", seed)
    against = ("--against-precision", "fp16")
    spinert(
        "evaluate", "--bundle", arguments.bundle, "--data", data, "-o", report, *against
    )
    results = HERE / "results"
    shutil.copyfile(report / "report.json", results / "reference.json")
    shutil.copyfile(report / "tables.md", results / "reference.md")


if __name__ == "__main__":
    main()
