"""Latencies, summed up."""

from __future__ import annotations

import numpy as np
import pytest

from spinert.bench.latencies import is_told, latency_summary, percentile_text


def test_percentiles_are_right_to_three_digits():
    values = np.random.default_rng(0).gamma(2, 0.05, 20_000)
    told = latency_summary(values)
    assert told["count"] == 20_000
    for name, percentile in (("p50_ms", 50), ("p99_ms", 99), ("p999_ms", 99.9)):
        wanted = 1000 * np.percentile(values, percentile)
        assert told[name] == pytest.approx(wanted, rel=2e-3)
    assert told["max_ms"] == pytest.approx(1000 * values.max(), rel=1e-3)
    assert told["mean_ms"] == pytest.approx(1000 * values.mean(), rel=1e-3)


def test_the_curve_rises_to_all_frames():
    told = latency_summary([0.001, 0.002, 0.003])
    shares = [share for _, share in told["curve"]]
    places = [place for place, _ in told["curve"]]
    assert shares == sorted(shares)
    assert places == sorted(places)
    assert told["curve"][-1] == [pytest.approx(3.0, rel=1e-3), 1]


def test_without_a_latency_there_is_no_percentile():
    assert latency_summary([]) == {"count": 0}


def test_what_takes_longer_than_ten_minutes_counts_as_ten_minutes():
    assert latency_summary([3600.0])["max_ms"] == pytest.approx(600_000, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "least"),
    [("p50", 2), ("p90", 10), ("p95", 20), ("p99", 100), ("p999", 1000)],
)
def test_a_percentile_is_told_once_a_frame_lies_beyond_it(name, least):
    enough, too_few = (latency_summary([0.02] * n) for n in (least, least - 1))
    assert is_told(enough, name)
    assert not is_told(too_few, name)
    assert percentile_text(enough, name) == "20.0"
    assert percentile_text(too_few, name) == ""


def test_the_largest_latency_needs_one_frame():
    assert (
        percentile_text(latency_summary([0.02]), "max", 2) == "20.02"
    )  # of three digits
    assert percentile_text(latency_summary([]), "max") == ""
