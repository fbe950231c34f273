"""Frames through a whole engine whose backend makes network inputs on its device."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from support.device_inputs import PreparingRig, preparing_rig
from support.engines import (
    PATIENCE_S,
    HeldDecoder,
    ManualClock,
    raw,
    request,
    settings,
)
from support.fake_device import FakeDevice

from spinert.runtime.engine.engine import Engine
from spinert.runtime.engine.switch import BackendSwitch
from spinert.runtime.errors import DeviceLost, FrameRefused, Reason

FRAMES = [(40, 80, 64), (230, 80, 64), (120, 200, 90), (200, 64, 64), (90, 70, 200)]


@contextmanager
def engine_on(bundle, backend, **limits):
    switch = BackendSwitch(backend)
    limits = settings(max_delay_ms=0) if not limits else settings(**limits)
    engine = Engine(bundle, switch, HeldDecoder(), limits, ManualClock())
    with engine:
        yield engine


def answers(bundle, backend):
    with engine_on(bundle, backend) as engine:
        futures = [engine.submit(request(raw(*frame))) for frame in FRAMES * 4]
        return [future.result(PATIENCE_S).verdict for future in futures]


def wait_until(condition):
    until_s = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < until_s:
        time.sleep(0.001)
    assert condition()


def test_verdicts_are_those_of_inputs_from_the_host(bundle, tmp_path, monkeypatch):
    host = PreparingRig(tmp_path, FakeDevice(), device_preprocessing=False)
    host.load()
    expected = answers(bundle, host.backend)
    host.backend.close()
    with preparing_rig(tmp_path, monkeypatch) as rig:
        assert answers(bundle, rig.backend) == expected


def test_every_frame_leaves_the_device(bundle, tmp_path, monkeypatch):
    with (
        preparing_rig(tmp_path, monkeypatch, device_images_mib=2) as rig,
        engine_on(bundle, rig.backend) as engine,
    ):
        # More frames than fit at once: they wait for each other, and none forever.
        futures = [engine.submit(request(raw(*frame))) for frame in FRAMES * 6]
        for future in futures:
            future.result(PATIENCE_S)
        wait_until(lambda: not rig.lent)


def test_a_cancelled_frame_leaves_the_device(bundle, tmp_path, monkeypatch):
    with (
        preparing_rig(tmp_path, monkeypatch) as rig,
        # The batch never fills, so that the frame waits on the device.
        engine_on(bundle, rig.backend, max_batch=4, max_delay_ms=1e6) as engine,
    ):
        future = engine.submit(request())
        wait_until(lambda: rig.lent)
        future.cancel()
        wait_until(lambda: not rig.lent)


def test_a_constant_image_is_refused_as_on_the_host(bundle, tmp_path, monkeypatch):
    flat = replace(raw(), data=np.full((80, 64), 9, np.uint8).tobytes())
    with (
        preparing_rig(tmp_path, monkeypatch) as rig,
        engine_on(bundle, rig.backend) as engine,
    ):
        error = engine.submit(request(flat)).exception(PATIENCE_S)
        assert isinstance(error, FrameRefused)
        assert error.reason is Reason.CONSTANT_IMAGE
        wait_until(lambda: not rig.lent)


def test_a_device_that_dies_while_preparing_ends_the_engine(
    bundle, tmp_path, monkeypatch
):
    with (
        preparing_rig(tmp_path, monkeypatch) as rig,
        engine_on(bundle, rig.backend) as engine,
    ):
        rig.device.plant("launch", 700)
        error = engine.submit(request()).exception(PATIENCE_S)
        assert isinstance(error, DeviceLost)
        wait_until(lambda: not engine.is_healthy)
