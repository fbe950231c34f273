"""What is told about the processes of a server."""

from __future__ import annotations

import subprocess
import sys

import psutil

from spinert.bench.processes import ProcessTree

SLEEP = [sys.executable, "-c", "import sys; sys.stdin.read()"]


def test_processes_are_named_by_what_they_run():
    with subprocess.Popen(
        [*SLEEP, "-m", "spinert.runtime.decode.worker", "7"], stdin=subprocess.PIPE
    ) as ours:
        told = ProcessTree(psutil.Process()).memory()
        ours.communicate()
    names = [process["process"] for process in told]
    assert names[0] == "server"
    assert "decode.worker" in names


def test_a_server_that_has_ended_is_a_tree_of_one():
    with subprocess.Popen(SLEEP, stdin=subprocess.PIPE) as ended:
        tree = ProcessTree(psutil.Process(ended.pid))
        ended.communicate()
    assert tree.processes() == [tree.root]
    assert tree.cpu_s() == 0
    assert tree.memory() == []
