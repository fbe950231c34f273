"""Regions: what may be registered, what is read, and what is left of it."""

import gc
import os
import socket
import threading
from dataclasses import replace

import psutil
import pytest
from support.shared_memory import ADMITTED, open_files, regions_in
from support.threads import threads_since

from spinert.runtime.config import ServerSettings
from spinert.runtime.errors import (
    ConfigError,
    Reason,
    RegionRefused,
    SpinertError,
    Unavailable,
)
from spinert.runtime.server.region_rules import (
    ObjectState,
    RegionSpan,
    file_name_from_key,
    is_local,
    limits_from_server_settings,
    refuse_object,
)

SPAN = RegionSpan(name="a", key="/frames", offset=0, length=100)
REGULAR = 0o100600


@pytest.fixture
def regions(tmp_path):
    with regions_in(tmp_path) as found:
        yield found


@pytest.fixture
def frames(tmp_path):
    """Return an object of 1,000 different pairs of bytes."""
    path = tmp_path / "frames"
    path.write_bytes(b"".join(i.to_bytes(2, "little") for i in range(1000)))
    path.chmod(0o600)
    return path


def reason_of(call, *args):
    with pytest.raises(SpinertError) as caught:
        call(*args)
    return caught.value.reason


# ------------------------------------------------------------------------ use


def test_a_region_is_read_at_its_offset_in_the_object(regions, frames):
    regions.register("a", "/frames", 100, 200)
    assert regions.read("a", 10, 4) == frames.read_bytes()[110:114]
    assert regions.read("a", 0, 200) == frames.read_bytes()[100:300]


def test_a_key_without_its_slash_is_the_same_object(regions, frames):
    regions.register("a", "frames", 0, 10)
    assert regions.read("a", 0, 10) == frames.read_bytes()[:10]


def test_outputs_are_written_into_the_object(regions, frames):
    before = frames.read_bytes()
    regions.register("a", "/frames", 100, 200)
    regions.write("a", 10, b"verdict")
    assert frames.read_bytes() == before[:110] + b"verdict" + before[117:]


def test_an_output_without_elements_is_written_to_a_region_that_is_there(
    regions, frames
):
    before = frames.read_bytes()
    regions.register("a", "/frames", 100, 200)
    regions.write("a", 10, b"")
    assert frames.read_bytes() == before
    assert reason_of(regions.write, "b", 10, b"") is Reason.REGION_UNKNOWN


def test_what_was_fetched_stays_whatever_the_client_writes(regions, frames):
    before = frames.read_bytes()
    regions.register("a", "/frames", 0, 2000)
    lent = regions.lend("a", 0, 2000)
    first = lent.fetch()
    frames.write_bytes(bytes(2000))
    assert first == before
    assert lent.fetch() is first
    assert regions.read("a", 0, 2000) == bytes(2000)


def test_a_large_frame_is_read_whole_and_closing_ends_who_helped(tmp_path):
    content = os.urandom(5 * 2**20)
    (tmp_path / "large").write_bytes(content)
    (tmp_path / "large").chmod(0o600)
    before = set(threading.enumerate())
    with regions_in(tmp_path) as regions:
        regions.register("a", "/large", 0, len(content))
        late = regions.lend("a", 0, len(content))
        assert regions.read("a", 0, len(content)) == content
    assert not threads_since(before)
    assert late.fetch() == content


def test_a_lent_frame_outlives_region_and_object(regions, frames):
    content = frames.read_bytes()
    regions.register("a", "/frames", 0, 2000)
    lent = regions.lend("a", 0, 2000)
    regions.unregister("a")
    frames.unlink()
    assert lent.fetch() == content


def test_a_read_only_object_is_read_and_not_written(regions, frames, monkeypatch):
    real = os.open

    def open_as_another_user(path, flags, *args, **kwargs):
        if flags & os.O_RDWR:
            raise PermissionError
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_as_another_user)
    regions.register("a", "/frames", 0, 2000)
    assert regions.read("a", 2, 2) == b"\1\0"
    assert reason_of(regions.write, "a", 0, b"x") is Reason.SHARED_MEMORY_READ_ONLY


def test_status_lists_what_is_registered_by_name(regions, frames):
    regions.register("b", "/frames", 0, 10)
    regions.register("a", "/frames", 5, 20)
    assert [(s.name, s.offset, s.length) for s in regions.status()] == [
        ("a", 5, 20),
        ("b", 0, 10),
    ]
    regions.unregister("a")
    regions.unregister("never registered")
    assert [s.name for s in regions.status()] == ["b"]
    regions.unregister_all()
    assert regions.status() == ()


# -------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 2001), (2000, 1), (1999, 2), (2**63, 1), (2**64 - 1, 9)]
)
def test_an_object_that_ends_before_the_region_is_refused(
    regions, frames, offset, length
):
    found = reason_of(regions.register, "a", "/frames", offset, length)
    assert found is Reason.SHARED_MEMORY_TOO_SMALL


@pytest.mark.parametrize(("offset", "length"), [(0, 201), (200, 1), (2**64 - 1, 2)])
def test_a_frame_that_ends_behind_its_region_is_refused(
    regions, frames, offset, length
):
    # The object goes on there; the region does not.
    regions.register("a", "/frames", 100, 200)
    found = reason_of(regions.lend, "a", offset, length)
    assert found is Reason.SHARED_MEMORY_TOO_SMALL
    assert reason_of(regions.write, "a", 200, b"x") is Reason.SHARED_MEMORY_TOO_SMALL


def test_an_object_made_smaller_is_an_error_and_not_a_crash(regions, frames):
    regions.register("a", "/frames", 0, 2000)
    lent = regions.lend("a", 0, 2000)
    os.truncate(frames, 1999)
    assert reason_of(lent.fetch) is Reason.SHARED_MEMORY_TRUNCATED
    assert reason_of(lent.fetch) is Reason.SHARED_MEMORY_TRUNCATED
    assert regions.read("a", 0, 1999) == frames.read_bytes()
    found = reason_of(regions.write, "a", 1998, b"xy")
    assert found is Reason.SHARED_MEMORY_TRUNCATED
    assert frames.stat().st_size == 1999


def test_an_unregistered_region_is_refused(regions):
    assert reason_of(regions.lend, "a", 0, 1) is Reason.REGION_UNKNOWN
    assert reason_of(regions.write, "a", 0, b"x") is Reason.REGION_UNKNOWN


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (-1, 5)])
def test_a_span_of_nothing_is_refused(regions, frames, offset, length):
    regions.register("a", "/frames", 0, 100)
    assert reason_of(regions.lend, "a", offset, length) is Reason.REGION_INVALID
    found = reason_of(regions.register, "b", "/frames", offset, length)
    assert found is Reason.REGION_INVALID


@pytest.mark.parametrize("name", ["", "n" * 129, "ä" * 65], ids=len)
def test_a_name_that_is_none_is_refused(regions, frames, name):
    found = reason_of(regions.register, name, "/frames", 0, 1)
    assert found is Reason.REGION_INVALID


@pytest.mark.parametrize(
    "key", ["", "/", "//frames", "/../frames", "/a/b", "..", ".", "/a\0b", "k" * 256]
)
def test_a_key_that_leaves_the_directory_is_refused(regions, frames, key):
    assert reason_of(regions.register, "a", key, 0, 1) is Reason.REGION_INVALID


def test_the_longest_key_is_a_name():
    assert file_name_from_key("/" + "k" * 255) == "k" * 255


@pytest.mark.parametrize(
    ("prefix", "key", "is_admitted"),
    [
        ("/spinert-", "/spinert-frames", True),
        ("/spinert-", "spinert-frames", True),
        ("/spinert-", "/spinert", False),
        ("/spinert-", "/frames", False),
        ("/spinert-", "/my-spinert-frames", False),
        ("/", "/frames", True),
    ],
)
def test_objects_of_other_names_are_out_of_reach(tmp_path, prefix, key, is_admitted):
    (tmp_path / key.removeprefix("/")).write_bytes(b"pixels")
    (tmp_path / key.removeprefix("/")).chmod(0o600)
    with regions_in(tmp_path, replace(ADMITTED, key_prefix=prefix)) as regions:
        if is_admitted:
            regions.register("a", key, 0, 6)
            assert bytes(regions.read("a", 0, 6)) == b"pixels"
        else:
            with pytest.raises(RegionRefused, match="shared_memory_prefix") as refused:
                regions.register("a", key, 0, 6)
            assert refused.value.reason is Reason.SHARED_MEMORY_FORBIDDEN


def test_a_key_of_nothing_is_refused(regions):
    found = reason_of(regions.register, "a", "/not-there", 0, 1)
    assert found is Reason.SHARED_MEMORY_MISSING


def test_a_name_is_given_once(regions, frames):
    regions.register("a", "/frames", 0, 10)
    assert reason_of(regions.register, "a", "/frames", 0, 20) is Reason.REGION_TAKEN
    assert [s.length for s in regions.status()] == [10]


def test_there_are_no_more_regions_than_allowed(tmp_path, frames):
    with regions_in(tmp_path, replace(ADMITTED, max_regions=2)) as regions:
        regions.register("a", "/frames", 0, 1)
        regions.register("b", "/frames", 0, 1)
        found = reason_of(regions.register, "c", "/frames", 0, 1)
        assert found is Reason.TOO_MANY_REGIONS
        regions.unregister("a")
        regions.register("c", "/frames", 0, 1)


def test_regions_and_frames_have_a_largest_size(tmp_path, frames):
    limits = replace(ADMITTED, max_region_bytes=1000, max_frame_bytes=500)
    with regions_in(tmp_path, limits) as regions:
        found = reason_of(regions.register, "a", "/frames", 0, 1001)
        assert found is Reason.REGION_TOO_LARGE
        regions.register("a", "/frames", 0, 1000)
        assert len(regions.read("a", 0, 500)) == 500
        assert reason_of(regions.lend, "a", 0, 501) is Reason.REGION_TOO_LARGE


def test_a_server_that_is_not_told_to_uses_no_shared_memory(tmp_path, frames):
    limits = limits_from_server_settings(ServerSettings(), os.geteuid())
    with regions_in(tmp_path, limits) as regions:
        for call in (
            lambda: regions.register("a", "/frames", 0, 1),
            lambda: regions.unregister("a"),
            regions.unregister_all,
            regions.status,
            lambda: regions.lend("a", 0, 1),
            lambda: regions.write("a", 0, b"x"),
        ):
            assert reason_of(call) is Reason.SHARED_MEMORY_OFF


# -------------------------------------------------------------- access control


def refusal_of(mode=REGULAR, user=7, size=100):
    state = ObjectState(mode=mode, user=user, size_bytes=size)
    try:
        refuse_object(state, SPAN, replace(ADMITTED, users=frozenset({7, 8})))
    except RegionRefused as error:
        return error.reason
    return None


@pytest.mark.parametrize("mode", [0o100600, 0o100644, 0o100400])
def test_an_object_of_an_admitted_user_may_be_used(mode):
    assert refusal_of(mode) is None
    assert refusal_of(mode, user=8) is None


@pytest.mark.parametrize(
    "state",
    [
        {"user": 9},
        {"user": 0},
        {"mode": 0o100620},
        {"mode": 0o100602},
        {"mode": 0o040600},
        {"mode": 0o010600},
        {"mode": 0o020600},
    ],
)
def test_an_object_that_somebody_else_could_write_is_refused(state):
    assert refusal_of(**state) is Reason.SHARED_MEMORY_FORBIDDEN


def test_an_object_of_somebody_else_is_refused(tmp_path, frames):
    limits = replace(ADMITTED, users=frozenset({os.geteuid() + 1}))
    with regions_in(tmp_path, limits) as regions:
        found = reason_of(regions.register, "a", "/frames", 0, 1)
    assert found is Reason.SHARED_MEMORY_FORBIDDEN


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "socket"])
def test_a_key_of_anything_but_an_object_is_refused_at_once(
    regions, tmp_path, frames, kind
):
    path = tmp_path / "key"
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "link":
            path.symlink_to(frames)
        elif kind == "pipe":
            os.mkfifo(path, 0o600)
        elif kind == "directory":
            path.mkdir()
        else:
            listener.bind(str(path))
        found = reason_of(regions.register, "a", "/key", 0, 1)
    assert found is Reason.SHARED_MEMORY_FORBIDDEN


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("unix:", True),
        ("unix:/run/spinert.sock", True),
        ("unix-abstract:name", True),
        ("ipv4:127.0.0.1:4711", True),
        ("ipv4:127.9.9.9:4711", True),
        ("ipv6:%5B::1%5D:4711", True),
        ("ipv6:[::1]:4711", True),
        ("ipv4:10.0.0.1:4711", False),
        ("ipv4:128.0.0.1:4711", False),
        ("ipv6:%5Bfe80::1%25eth0%5D:4711", False),
        ("ipv6:%5B2001:db8::1%5D:4711", False),
        ("vsock:3:4711", False),
        ("ipv4:localhost:4711", False),
        ("", False),
    ],
)
def test_only_loopback_and_unix_sockets_are_of_this_machine(peer, expected):
    assert is_local(peer) is expected


def test_the_servers_own_user_and_those_listed_are_admitted():
    settings = ServerSettings(shared_memory=True, shared_memory_users=(5,))
    limits = limits_from_server_settings(settings, 4)
    assert limits.is_on
    assert limits.users == {4, 5}


def test_keys_begin_with_our_name_unless_said_otherwise():
    assert limits_from_server_settings(ServerSettings(), 4).key_prefix == "/spinert-"
    other = ServerSettings(shared_memory_prefix="/site-")
    assert limits_from_server_settings(other, 4).key_prefix == "/site-"


@pytest.mark.parametrize("prefix", ["", "spinert-", "/a/b", "//"])
def test_a_prefix_that_no_key_can_begin_with_is_refused(prefix):
    with pytest.raises(ConfigError, match=r"server\.shared_memory_prefix"):
        ServerSettings(shared_memory_prefix=prefix)


# ----------------------------------------------------------------------- leaks


def test_descriptors_are_closed_with_region_frame_and_refusal(regions, frames):
    before = open_files()
    regions.register("a", "/frames", 0, 10)
    lent = regions.lend("a", 0, 10)
    reason_of(regions.register, "a", "/frames", 0, 10)
    reason_of(regions.register, "b", "/frames", 0, 9999)
    assert open_files() == before + 1
    regions.unregister("a")
    assert open_files() == before + 1
    lent.fetch()
    assert open_files() == before


def test_a_server_short_of_descriptors_says_so(regions, frames, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(24, "too many open files")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Unavailable) as caught:
        regions.register("a", "/frames", 0, 10)
    assert caught.value.reason is Reason.NOT_READY
    assert "EMFILE" in caught.value.message


def test_ten_thousand_cycles_of_use_and_misuse_leave_nothing(regions, frames):
    def cycle():
        regions.register("a", "/frames", 0, 2000)
        lent, dropped = regions.lend("a", 0, 2000), regions.lend("a", 0, 10)
        reason_of(regions.register, "a", "/frames", 0, 2000)
        reason_of(regions.register, "b", "/frames", 0, 2001)
        reason_of(regions.register, "c", "/not-there", 0, 1)
        regions.unregister("a")
        reason_of(regions.lend, "a", 0, 1)
        assert lent.fetch()[:4] == b"\0\0\1\0"
        del dropped

    for _ in range(50):
        cycle()
    gc.collect()
    files, objects = open_files(), len(gc.get_objects())
    resident = psutil.Process().memory_info().rss
    for _ in range(10_000):
        cycle()
    gc.collect()
    assert open_files() == files
    assert abs(len(gc.get_objects()) - objects) < 100
    assert psutil.Process().memory_info().rss - resident < 4 * 2**20
