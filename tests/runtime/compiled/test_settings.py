"""The section [engines] of the settings file."""

from __future__ import annotations

from pathlib import Path

import pytest

from spinert.runtime.compiled.settings import EnginesSettings
from spinert.runtime.config import settings_from_toml
from spinert.runtime.errors import ConfigError


def read(folder: Path, text: str) -> EnginesSettings:
    path = folder / "server.toml"
    path.write_text(text)
    return settings_from_toml(path).engines


def test_settings_come_from_their_own_section(tmp_path):
    text = "[engines]\ncache_dir = '/var/engines'\noptimization_level = 5\n"
    assert read(tmp_path, text) == EnginesSettings(
        cache_dir="/var/engines", optimization_level=5
    )
    assert read(tmp_path, "") == EnginesSettings()


@pytest.mark.parametrize(
    "line",
    [
        "optimization_level = 6",
        "optimization_level = -1",
        "max_height_px = -1",
        "max_width_px = 65536",
        "keep_gib = -1",
    ],
)
def test_what_no_engine_can_be_built_with_is_refused(tmp_path, line):
    with pytest.raises(ConfigError, match=rf"engines\.{line.split()[0]}"):
        read(tmp_path, f"[engines]\n{line}\n")


def test_engines_are_kept_where_the_user_keeps_caches(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/x")
    home = Path("/home/x/.cache/spinert/engines")
    assert EnginesSettings().directory() == home
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert EnginesSettings().directory() == Path("/caches/spinert/engines")
    assert EnginesSettings(cache_dir="/own").directory() == Path("/own")


def test_a_user_without_a_home_has_to_say_where(monkeypatch):
    def homeless(_cls):
        raise RuntimeError

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(homeless))
    with pytest.raises(ConfigError, match=r"set engines\.cache_dir"):
        EnginesSettings().directory()
