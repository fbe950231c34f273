from __future__ import annotations

from pathlib import Path

import pytest

from spinert.runtime.config import (
    GoldenSettings,
    Settings,
    fallback_settings,
    settings_from_toml,
)
from spinert.runtime.errors import ConfigError


def read(tmp_path, text):
    path = tmp_path / "spinert.toml"
    path.write_text(text)
    return settings_from_toml(path)


def test_an_empty_file_gives_the_defaults(tmp_path):
    assert read(tmp_path, "") == Settings()


def test_values_of_every_kind_are_read(tmp_path):
    settings = read(
        tmp_path,
        """
        [server]
        listen = "0.0.0.0:7000"
        reflection = true
        [engine]
        max_delay_ms = 5
        [decode]
        accept_modalities = ["DX"]
        """,
    )
    assert settings.server.listen == "0.0.0.0:7000"
    assert settings.server.reflection is True
    assert settings.engine.max_delay_ms == 5.0
    assert settings.decode.accept_modalities == ("DX",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[servr]", "unknown key 'servr'"),
        ("[server]\nport = 1", "unknown key 'port'"),
        ("server = 1", "server must be a table"),
        ("[server]\nlisten = 50051", "listen must be of type str"),
        ("[server]\nreflection = 1", "reflection must be of type bool"),
        ("[engine]\nmax_batch = true", "max_batch must be of type int"),
        ("[decode]\naccept_modalities = [1]", "must be a list of str"),
        ("[decode]\naccept_modalities = []", "accept_modalities is empty"),
        ("[engine]\nmax_batch = 9\nmax_frames = 8", "at least one full batch"),
        ("[backend]\nthreads = -1", "threads must not be negative"),
        ("[server", "not valid TOML"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words.replace("[", r"\[")):
        read(tmp_path, text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*absent\.toml"):
        settings_from_toml(tmp_path / "absent.toml")


def test_passes_are_stored_where_the_settings_or_the_user_say(monkeypatch):
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/x")
    assert GoldenSettings().directory() == Path("/home/x/.local/state/spinert")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert GoldenSettings().directory() == Path("/state/spinert")
    assert GoldenSettings(state_dir="/own").directory() == Path("/own")


def test_a_user_without_a_home_has_nowhere_to_store_passes(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert GoldenSettings().directory() is None


def test_preprocessing_on_the_device_needs_a_backend_that_can(tmp_path):
    text = "[backend]\ndevice_preprocessing = true\nname = %r\n"
    for name in ("tensorrt", "tensorrt-rtx"):
        assert read(tmp_path, text % name).backend.device_preprocessing
    for name in ("onnxruntime", "onnxruntime-cuda"):
        with pytest.raises(ConfigError, match=r"needs backend\.name tensorrt"):
            read(tmp_path, text % name)


def test_the_fallback_prepares_frames_on_the_host(tmp_path):
    text = """
        [backend]
        name = "tensorrt"
        fallback = "onnxruntime"
        device_preprocessing = true
        """
    fallback = fallback_settings(read(tmp_path, text)).backend
    assert (fallback.name, fallback.device_preprocessing) == ("onnxruntime", False)
