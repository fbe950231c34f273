"""An engine is a program: it is loaded only as this user left it."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.compiling import ENGINE_KEY, RECORD

from spinert.runtime.compiled import trust
from spinert.runtime.compiled.cache import EngineCache
from spinert.runtime.compiled.storing import MANIFEST, PLAN
from spinert.runtime.errors import BackendUnavailable, Reason

CONTENT = bytes(range(256)) * 40
OTHER_KEYS = [
    replace(ENGINE_KEY, flavour_version="11.4.1"),
    replace(ENGINE_KEY, target=replace(ENGINE_KEY.target, driver="13.1")),
    replace(ENGINE_KEY, onnx_sha256="b" * 64),
    replace(ENGINE_KEY, precision="fp32"),
]


@pytest.fixture
def cache(tmp_path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


@pytest.fixture
def folder(cache) -> Path:
    """Return the folder of a stored engine."""
    store(cache)
    return cache.root / ENGINE_KEY.digest()


def store(cache, key=ENGINE_KEY, content=CONTENT):
    with cache.building(key, lambda: None):
        cache.store(key, memoryview(content), RECORD)


def refused(cache, *words):
    with pytest.raises(BackendUnavailable) as refusal:
        cache.load(ENGINE_KEY)
    assert refusal.value.reason == Reason.ENGINE_UNTRUSTED
    for word in words:
        assert word in refusal.value.message
    return refusal.value.message


def test_what_was_stored_comes_back(cache, folder):
    engine = cache.load(ENGINE_KEY)
    assert engine.plan == CONTENT
    assert engine.directory == folder
    assert engine.record == RECORD
    assert engine.digest == ENGINE_KEY.digest()


def test_an_empty_cache_has_no_engine(cache):
    assert cache.load(ENGINE_KEY) is None


def test_nobody_else_can_read_or_write_what_is_stored(cache, folder):
    for path in (cache.root, folder):
        assert path.stat().st_mode & 0o777 == 0o700
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_directory_is_private_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        cache = EngineCache(tmp_path / "a" / "b")
        store(cache)
    finally:
        os.umask(before)
    assert cache.load(ENGINE_KEY).plan == CONTENT


@pytest.mark.parametrize("key", OTHER_KEYS)
def test_a_stale_engine_is_never_loaded(cache, folder, key):
    assert cache.load(key) is None
    # Not even where somebody gave it the name of the other.
    folder.rename(cache.root / key.digest())
    assert cache.load(key) is None


@pytest.mark.parametrize("key", OTHER_KEYS)
def test_the_cache_tells_why_an_engine_is_missing(cache, folder, key):
    assert cache.why_missing(key) == key.explain(ENGINE_KEY.as_json())
    assert cache.why_missing(replace(key, role="detector")) == ()


def test_the_nearest_engine_is_the_one_told_of(cache, folder):
    far = replace(ENGINE_KEY, precision="fp32", stripped=True, onnx_sha256="c" * 64)
    store(cache, far)
    wanted = replace(far, optimization_level=0)
    assert cache.why_missing(wanted) == ("optimization_level was 3, is 0",)


def test_strange_folders_do_not_confuse_the_search(cache, folder):
    for name, content in (("x", b"[]"), ("y", b"{}"), ("z", b'{"key": 3}')):
        (cache.root / name).mkdir()
        (cache.root / name / MANIFEST).write_bytes(content)
    assert cache.why_missing(OTHER_KEYS[0])


@pytest.mark.parametrize("position", [0, 5000, len(CONTENT) - 1])
def test_a_changed_byte_makes_an_engine_worthless(cache, folder, position, caplog):
    content = bytearray(CONTENT)
    content[position] ^= 1
    (folder / PLAN).write_bytes(content)
    assert cache.load(ENGINE_KEY) is None
    assert "damaged" in caplog.text


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"\0"])
def test_an_engine_of_another_length_is_worthless(cache, folder, content):
    (folder / PLAN).write_bytes(content)
    assert cache.load(ENGINE_KEY) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"key": {}}', b"\xff\xfe"]
)
def test_a_damaged_manifest_makes_an_engine_worthless(cache, folder, content):
    (folder / MANIFEST).write_bytes(content)
    assert cache.load(ENGINE_KEY) is None


def test_a_manifest_of_unreasonable_size_is_not_read(cache, folder):
    with (folder / MANIFEST).open("ab") as file:
        file.write(b" " * 2**20)  # still the same JSON
    assert cache.load(ENGINE_KEY) is None


@pytest.mark.parametrize("name", [PLAN, MANIFEST])
def test_half_an_engine_is_none(cache, folder, name):
    (folder / name).unlink()
    assert cache.load(ENGINE_KEY) is None


def test_a_damaged_engine_is_replaced_with_its_certificate(cache, folder):
    (folder / PLAN).write_bytes(b"damaged")
    (folder / "certificate.json").write_text("{}")
    store(cache)
    assert cache.load(ENGINE_KEY).plan == CONTENT
    assert not (folder / "certificate.json").exists()
    assert not list(cache.root.glob("*.discarded"))


@pytest.mark.parametrize("name", [PLAN, MANIFEST])
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(cache, folder, name, mode):
    (folder / name).chmod(mode)
    refused(cache, name, "may be written by others", "chmod go-w")


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_may_write_is_refused(cache, folder, mode):
    folder.chmod(mode)
    refused(cache, "may be written by others")


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_cache_that_others_may_write_is_refused(cache, folder, mode):
    cache.root.chmod(mode)
    refused(cache, str(cache.root), "may be written by others")
    with pytest.raises(BackendUnavailable, match="may be written by others"):
        EngineCache(cache.root)


def test_others_may_read(cache, folder):
    cache.root.chmod(0o755)
    folder.chmod(0o755)
    (folder / PLAN).chmod(0o644)
    assert cache.load(ENGINE_KEY).plan == CONTENT


@pytest.mark.parametrize("name", [PLAN, MANIFEST])
def test_a_symbolic_link_is_refused_wherever_it_leads(cache, folder, name, tmp_path):
    elsewhere = tmp_path / name
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    refused(cache, name, "is a link")


def test_a_link_in_place_of_a_folder_is_refused(cache, folder, tmp_path):
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    refused(cache, "is a link")


def test_a_link_that_leads_nowhere_is_refused(cache, folder):
    (folder / PLAN).unlink()
    (folder / PLAN).symlink_to("missing")
    refused(cache, PLAN, "is a link")


def test_a_file_in_place_of_a_folder_is_refused(cache, folder, tmp_path):
    folder.rename(tmp_path / "elsewhere")
    folder.write_bytes(b"")
    refused(cache, "wrong kind")


@pytest.mark.parametrize("name", [PLAN, MANIFEST])
def test_a_second_name_of_a_file_is_refused(cache, folder, name, tmp_path):
    os.link(folder / name, tmp_path / "second")
    refused(cache, name, "not a regular file of one name")


@pytest.mark.parametrize("kind", ["pipe", "directory"])
def test_what_is_no_file_is_refused_without_waiting(cache, folder, kind):
    (folder / PLAN).unlink()
    if kind == "pipe":
        os.mkfifo(folder / PLAN, 0o600)
    else:
        (folder / PLAN).mkdir(mode=0o700)
    refused(cache, PLAN, "not a regular file")


@pytest.mark.parametrize("which", ["root", "folder", PLAN, MANIFEST])
def test_what_belongs_to_another_user_is_refused(cache, folder, which, monkeypatch):
    paths = {"root": cache.root, "folder": folder}
    foreign = paths.get(which, folder / which).stat().st_ino
    honest = os.fstat

    def fstat(descriptor):
        status = honest(descriptor)
        if status.st_ino != foreign:
            return status
        fields = list(status)
        fields[4] = os.geteuid() + 1  # st_uid
        return os.stat_result(fields)

    monkeypatch.setattr(trust.os, "fstat", fstat)
    refused(cache, "belongs to another user", "engines.cache_dir")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_given_to_another_user_is_refused(cache, folder):
    os.chown(folder / PLAN, 12345, -1)
    refused(cache, PLAN, "belongs to another user")


def test_a_cache_is_reached_through_a_link_of_the_user(cache, folder, tmp_path):
    (tmp_path / "link").symlink_to(cache.root)
    assert EngineCache(tmp_path / "link").load(ENGINE_KEY).plan == CONTENT


@pytest.mark.parametrize("below", ["", "networks", "networks/engines"])
def test_engines_are_never_taken_from_a_bundle(tmp_path, below):
    bundle = tmp_path / "bundle"
    (bundle / "networks").mkdir(parents=True)
    (bundle / "bundle.json").write_text("{}")
    (tmp_path / "link").symlink_to(bundle)
    for path in (bundle / below, tmp_path / "link" / below):
        with pytest.raises(BackendUnavailable, match="lies in a bundle"):
            EngineCache(path)


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BackendUnavailable, match=r"engines\.cache_dir") as refusal:
        EngineCache(tmp_path / "file" / "engines")
    assert refusal.value.reason == Reason.ENGINE_CACHE_FAILED


def test_a_disk_without_room_is_told_before_the_build(cache):
    cache.require_room(1)
    with pytest.raises(BackendUnavailable, match="MiB left"):
        cache.require_room(2**62)


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_full_disk_leaves_no_half_engine(cache, call, monkeypatch):
    def full(*_arguments, **_names):
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(BackendUnavailable, match="the disk is full") as refusal:
        store(cache)
    assert refusal.value.reason == Reason.ENGINE_CACHE_FAILED
    assert [path.suffix for path in cache.root.iterdir()] == [".lock"]


def test_a_file_that_the_system_cuts_off_is_no_engine(tmp_path):
    """The limit on file sizes stands in for a full disk: a real, short write."""
    script = f"""
import resource, signal, sys
from pathlib import Path
from support.compiling import ENGINE_KEY, RECORD
from spinert.runtime.compiled.cache import EngineCache
from spinert.runtime.errors import BackendUnavailable
cache = EngineCache(Path({str(tmp_path / "engines")!r}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
try:
    with cache.building(ENGINE_KEY, lambda: None):
        cache.store(ENGINE_KEY, memoryview(bytes(2**21)), RECORD)
except BackendUnavailable as error:
    sys.exit(f"{{error.reason}}: {{error.message}}")
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 2**20
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "the disk is full" in done.stderr
    cache = EngineCache(tmp_path / "engines")
    assert cache.load(ENGINE_KEY) is None
    assert [path.suffix for path in cache.root.iterdir()] == [".lock"]


def test_a_crash_between_the_renames_loses_no_more_than_the_engine(cache, folder):
    """The old folder was set aside, and the new one did not take its place."""
    folder.rename(folder.with_name(f"{folder.name}.discarded"))
    folder.with_name(f"{folder.name}.partial").mkdir()
    assert cache.load(ENGINE_KEY) is None
    store(cache)
    assert cache.load(ENGINE_KEY).plan == CONTENT
    assert {path.suffix for path in cache.root.iterdir()} == {"", ".lock"}


def test_a_builder_killed_while_it_writes_leaves_nothing_that_counts(tmp_path):
    script = f"""
import os, signal, sys
from pathlib import Path
from support.compiling import ENGINE_KEY, RECORD
from spinert.runtime.compiled.cache import EngineCache
cache = EngineCache(Path({str(tmp_path / "engines")!r}))
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
with cache.building(ENGINE_KEY, lambda: None):
    cache.store(ENGINE_KEY, memoryview(bytes(1000)), RECORD)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment)
    assert done.returncode == -signal.SIGKILL
    cache = EngineCache(tmp_path / "engines")
    assert [path.suffix for path in cache.root.glob("*.partial")] == [".partial"]
    assert cache.load(ENGINE_KEY) is None
    store(cache)  # The lock ended with its holder, or this would wait for ever.
    assert cache.load(ENGINE_KEY).plan == CONTENT
    assert not list(cache.root.glob("*.partial"))


def test_a_read_only_cache_still_serves_its_engines(cache, folder, monkeypatch):
    def read_only(*_arguments, **_names):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", read_only)
    assert cache.load(ENGINE_KEY).plan == CONTENT


def test_the_manifest_says_what_the_engine_is(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["key"] == ENGINE_KEY.as_json()
    assert manifest["bytes"] == len(CONTENT)
    assert manifest["record"]["created_at"] == RECORD.created_at
