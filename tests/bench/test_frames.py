"""Frames to measure with."""

from __future__ import annotations

import numpy as np
import pytest

from spinert.bench.frames import (
    SYNTAXES,
    FramePlan,
    LoadFrame,
    frame_from_wire,
    frames_from_plan,
    named,
    wire_from_frame,
)
from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.pool import DecodePool
from spinert.runtime.decode.raw import image_from_raw


@pytest.fixture(scope="module")
def frames() -> tuple[LoadFrame, ...]:
    return frames_from_plan(FramePlan(long_edges_px=(256,), seed=3))


def test_every_syntax_carries_the_same_pixels(frames):
    settings = DecodeSettings(workers=1)
    with DecodePool(settings) as pool:
        images = [
            image_from_raw(frame.content, settings)
            if frame.syntax == "raw"
            else pool.submit(frame.content).result()
            for frame in frames
        ]
    assert [frame.syntax for frame in frames] == list(SYNTAXES)
    for image in images[1:]:
        np.testing.assert_array_equal(image.pixels, images[0].pixels)


def test_the_engine_is_given_what_the_client_sends(frames):
    for frame in frames:
        assert bytes(frame.content.data) == bytes(frame.frame.payload)
        assert frame.size_bytes == len(frame.frame.payload)


def test_a_frame_goes_to_another_process_and_back(frames):
    for frame in frames:
        read = frame_from_wire(wire_from_frame(frame.frame))
        assert bytes(read.payload) == bytes(frame.frame.payload)
        assert read.content_field == frame.frame.content_field
        assert read.raw == frame.frame.raw


def test_a_name_changes_nothing_else(frames):
    renamed = named(frames[0].frame, "seven")
    assert renamed.options.frame_id == "seven"
    assert renamed.payload is frames[0].frame.payload
