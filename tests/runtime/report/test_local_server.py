"""A server for the length of one command, whatever it does when that ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from spinert.runtime.errors import Unavailable
from spinert.runtime.report import local_server as module
from spinert.runtime.report.local_server import local_server

STUBBORN = """#!/bin/sh
trap '' TERM
echo '{"event": "starting", "pid": '$$'}' >&2
echo '{"event": "ready", "address": "'"$*"'"}' >&2
while :; do sleep 0.05; done
"""
BROKEN = """#!/bin/sh
echo '{"event": "starting"}' >&2
echo 'error: BUNDLE_MISSING: there is none' >&2
exit 2
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Return a function that makes a script stand in for the server."""

    def stand_in(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(script)
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return stand_in


def test_a_server_that_does_not_end_is_killed(program, monkeypatch):
    program(STUBBORN)
    monkeypatch.setattr(module, "_STOP_S", 0.2)
    events = []
    with local_server(Path("bundle"), events.append) as address:
        assert f"--parent {os.getpid()}" in address
        [pid] = [event["pid"] for event in events if "pid" in event]
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_that_cannot_start_says_why(program):
    program(BROKEN)
    with (
        pytest.raises(Unavailable, match="start: BUNDLE_MISSING: there is none"),
        local_server(Path("bundle"), lambda event: None),
    ):
        pass
