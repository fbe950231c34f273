"""Plots: what is readable on them, whatever was measured."""

from __future__ import annotations

import re

import pytest

from spinert.bench.latencies import latency_summary
from spinert.bench.plots import Bar, bar_plot, latency_plot, load_plot


def words_of(svg: bytes) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.decode())


def summary(count: int, from_ms: float, to_ms: float):
    step = (to_ms - from_ms) / max(1, count - 1)
    return latency_summary([(from_ms + i * step) / 1000 for i in range(count)])


def load(rate: float, count: int):
    return {"offered_per_s": rate, "latency": summary(count, 80, 300)}


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "ticks"),
    [
        (70, 160, {"80", "100", "120", "140"}),
        (3, 900, {"5", "10", "20", "50", "100", "200", "500"}),
    ],
)
def test_latencies_of_any_range_have_several_ticks(from_ms, to_ms, ticks):
    told = words_of(latency_plot({"server": summary(200, from_ms, to_ms)}))
    assert ticks <= set(told)


def test_a_percentile_is_drawn_only_where_frames_suffice():
    few = words_of(load_plot([load(2.0, 30), load(4.0, 60)], 9.0))
    assert "p90" in few
    assert "p99" not in few
    assert "p99" in words_of(load_plot([load(2.0, 30), load(4.0, 150)], 9.0))


def test_without_an_answer_there_is_an_empty_plot():
    assert "p50" not in words_of(load_plot([load(2.0, 0)], 9.0))
    assert latency_plot({"server": latency_summary([])})


def test_names_of_lines_wrap_before_they_leave_the_plot():
    """Legends are laid out in columns of one width."""
    names = [f"{share} of what there is" for share in (25, 50, 75, 90)]
    svg = latency_plot({name: summary(20, 80, 300) for name in names}).decode()
    width = float(re.search(r'width="([\d.]+)pt"', svg)[1])
    at = [float(x) for x in re.findall(r' x="([\d.]+)"[^>]*>\d\d of', svg)]
    assert len(at) == 4
    assert max(at) < width - 100


def test_a_bar_has_its_value_beside_it():
    bars = [
        Bar(name="ours", value=1234.5, told="1234"),
        Bar(name="b", value=0, told="0"),
    ]
    assert {"ours", "1234", "requests"} <= set(words_of(bar_plot(bars, x="requests")))
    assert bar_plot([], x="nothing")
