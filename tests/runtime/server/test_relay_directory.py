"""What servers with fronts leave behind, and who may remove it."""

import os
import shutil
import socket
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from spinert.runtime.server import relay_directory
from spinert.runtime.server.relay_directory import (
    new_directory,
    remove_abandoned,
    socket_in,
)

LONG_AGO = (0, 0)


@pytest.fixture
def place(monkeypatch):
    """Yield an empty place for temporary files; paths of sockets are short."""
    place = Path(tempfile.mkdtemp(prefix="spinert-test-", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    shutil.rmtree(place)


def listener(directory):
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.bind(str(socket_in(directory)))
    made.listen(1)
    return made


def left_by_a_killed_server():
    directory = new_directory()
    listener(directory).close()
    os.utime(directory, LONG_AGO)
    return directory


def test_what_a_killed_server_left_is_removed(place):
    left = [left_by_a_killed_server() for _ in range(3)]
    remove_abandoned()
    assert not any(directory.exists() for directory in left)


def test_what_was_left_before_anybody_listened_is_removed(place):
    directory = new_directory()
    os.utime(directory, LONG_AGO)
    remove_abandoned()
    assert not directory.exists()


def test_the_directory_of_a_living_server_stays(place):
    directory = new_directory()
    with listener(directory):
        os.utime(directory, LONG_AGO)
        remove_abandoned()
        assert socket_in(directory).exists()


def test_the_directory_of_a_server_that_is_too_busy_to_answer_stays(place, monkeypatch):
    monkeypatch.setattr(relay_directory, "_PROBE_S", 0.05)
    directory = new_directory()
    with listener(directory), ExitStack() as calls:
        with suppress(BlockingIOError):
            while True:
                call = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                calls.enter_context(call).setblocking(False)
                call.connect(str(socket_in(directory)))
        os.utime(directory, LONG_AGO)
        remove_abandoned()
        assert socket_in(directory).exists()


def test_the_directory_of_a_server_that_starts_stays(place):
    directory = left_by_a_killed_server()
    os.utime(directory)
    remove_abandoned()
    assert socket_in(directory).exists()


def test_the_directory_of_another_user_stays(place, monkeypatch):
    directory = left_by_a_killed_server()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    remove_abandoned()
    assert socket_in(directory).exists()


def test_what_a_link_leads_to_stays(place):
    elsewhere = left_by_a_killed_server().rename(place / "elsewhere")
    (place / "spinert-fronts-link").symlink_to(elsewhere)
    remove_abandoned()
    assert socket_in(elsewhere).exists()


def test_a_file_that_no_server_made_stays_and_keeps_no_other_from_going(place):
    strange, plain = left_by_a_killed_server(), left_by_a_killed_server()
    (strange / "letter").write_text("precious")
    (place / "spinert-fronts-file").write_text("precious")
    remove_abandoned()
    assert (strange / "letter").exists()
    assert (place / "spinert-fronts-file").exists()
    assert not plain.exists()
