"""Flags of `spinert verify`: the settings of the server, with a few replaced."""

from __future__ import annotations

import pytest

from spinert.runtime.config import BackendSettings, EngineSettings, Settings
from spinert.runtime.errors import ConfigError
from spinert.runtime.report.verify import VerifyFlags, settings_from_flags

STATED = Settings(
    backend=BackendSettings(
        name="tensorrt", threads=3, precision="fp16", fallback="onnxruntime"
    ),
    engine=EngineSettings(max_batch=2),
)


def test_without_flags_the_settings_stay() -> None:
    assert settings_from_flags(VerifyFlags(), STATED) == STATED


def test_flags_replace_what_they_name() -> None:
    flags = VerifyFlags(
        backend="onnxruntime-cuda", threads=0, precision="fp32", max_batch=5
    )
    found = settings_from_flags(flags, STATED)
    assert found.backend == BackendSettings(
        name="onnxruntime-cuda", threads=0, precision="fp32", fallback="onnxruntime"
    )
    assert found.engine.max_batch == 5


def test_the_fallback_itself_can_be_asked_for() -> None:
    found = settings_from_flags(VerifyFlags(backend="onnxruntime"), STATED)
    assert (found.backend.name, found.backend.fallback) == ("onnxruntime", "")


def test_a_batch_that_no_queue_holds_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_frames"):
        settings_from_flags(VerifyFlags(max_batch=100), STATED)
