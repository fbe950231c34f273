"""The decoders that are compared: every way that SpineRT reads, and right answers."""

from __future__ import annotations

import numpy as np
import pytest

from spinert.runtime.decode.transfer_syntax import (
    TRANSFER_SYNTAXES,
    Codec,
    Loss,
)


def test_every_way_of_writing_that_is_read_is_compared(program):
    cases = program("decoder_cases").CASES.values()
    ways = set(TRANSFER_SYNTAXES.values())
    compressed = {way.codec for way in ways if way.codec is not Codec.NATIVE}
    assert compressed <= {case.codec for case in cases}
    always = {way.codec for way in ways if way.loss is Loss.ALWAYS}
    assert always == {case.codec for case in cases if case.is_lossy}
    # Baseline holds 8 bits, extended 12.
    assert {case.bits for case in cases if case.is_lossy} == {8, 12}
    assert any(way.is_deflated for way in ways)
    assert [case.codec for case in cases].count(Codec.NATIVE) == 1


@pytest.mark.parametrize(
    "name", ["JPEG, 8 bits, lossy", "JPEG, 12 bits, lossy", "HTJ2K", "RLE", "deflated"]
)
def test_a_case_is_measured_and_its_decoders_agree(program, monkeypatch, name):
    decoders, cases = program("bench_decoders"), program("decoder_cases")
    for module in (decoders, cases):
        monkeypatch.setattr(module, "ROWS", 96)
        monkeypatch.setattr(module, "COLUMNS", 80)
    case = cases.CASES[name]
    film = decoders.radiograph(96, 80, case.bits, 1).pixels
    found = decoders.measure_case(case, film, rounds=2)
    assert found["over_runtime"].keys() == case.others.keys()
    assert found["ms"].keys() == {decoders.OURS, *case.others}


def test_a_decoder_that_gives_another_image_is_no_measurement(program):
    decoders = program("bench_decoders")
    film = np.full((4, 4), 100, np.uint8)
    ours = film + np.uint8(3)
    refuse = decoders.refuse_other_pixels
    refuse("a decoder", film.copy(), film, film)
    with pytest.raises(RuntimeError, match="does not give the image back"):
        refuse("a decoder", film + np.uint8(1), film, film)
    refuse("a lossy decoder", ours + np.uint8(1), film, ours)
    with pytest.raises(RuntimeError, match="gives another image back"):
        refuse("a lossy decoder", ours + np.uint8(2), film, ours)
    far = film + np.uint8(40)
    with pytest.raises(RuntimeError, match="gives another image back"):
        refuse("a lossy decoder", far, film, far)
