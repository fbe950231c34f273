"""How the tests themselves are set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import settings

CONFIG = Path(__file__).parents[1] / "pyproject.toml"

HANGING = """
import asyncio, uvloop

def test_that_hangs_on_uvloop():
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.Event().wait())
"""


def test_no_example_is_timed():
    # Everybody who sets the number of examples takes the rest from here.
    assert settings(max_examples=1).deadline is None


def test_a_test_that_hangs_on_uvloop_is_ended_and_told(tmp_path):
    """What a signal's handler raises there is lost, and the run with it."""
    (tmp_path / "test_hanging.py").write_text(HANGING)
    command = [sys.executable, "-m", "pytest", "-c", CONFIG, "--rootdir", tmp_path]
    limits = [
        "--timeout",
        "2",
        "-o",
        "faulthandler_timeout=1",
        "-p",
        "no:cacheprovider",
    ]
    outside = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, *limits, tmp_path],
        env=outside,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "in test_that_hangs_on_uvloop" in done.stderr
