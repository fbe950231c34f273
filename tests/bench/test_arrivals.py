"""When frames of an open loop are due."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from spinert.bench.arrivals import Pattern, Traffic, arrivals_from_traffic


def traffic(**changes) -> Traffic:
    values = {
        "rate_per_s": 200.0,
        "devices": 10,
        "seconds": 30.0,
        "pattern": Pattern.POISSON,
        "frames": 4,
    }
    return Traffic(**values | changes)


def test_the_same_traffic_gives_the_same_arrivals():
    assert arrivals_from_traffic(traffic()) == arrivals_from_traffic(traffic())
    assert arrivals_from_traffic(traffic()) != arrivals_from_traffic(traffic(seed=1))


@pytest.mark.parametrize("pattern", list(Pattern))
def test_arrivals_are_in_order_and_as_many_as_the_rate_says(pattern):
    found = arrivals_from_traffic(traffic(pattern=pattern))
    times = [arrival.at_s for arrival in found]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] < 30
    assert len(found) == pytest.approx(6000, rel=0.05)
    assert {arrival.device for arrival in found} == set(range(10))
    assert {arrival.frame for arrival in found} == set(range(4))


@pytest.mark.parametrize("pattern", list(Pattern))
def test_a_short_load_has_the_mix_of_a_long_one(pattern):
    found = arrivals_from_traffic(traffic(pattern=pattern, seconds=0.1, frames=6))
    counts = np.bincount([arrival.frame for arrival in found], minlength=6)
    assert len(found) > 6
    assert counts.max() - counts.min() <= 1
    orders = {
        tuple(a.frame for a in arrivals_from_traffic(traffic(seed=seed))[:4])
        for seed in range(20)
    }
    assert len(orders) > 5


def test_poisson_arrivals_vary_as_much_as_their_mean():
    times = [arrival.at_s for arrival in arrivals_from_traffic(traffic())]
    steps = np.diff(times)
    # Of an exponential distribution, deviation and mean are equal.
    assert np.std(steps) == pytest.approx(np.mean(steps), rel=0.1)


def test_a_periodic_device_sends_in_equal_steps():
    found = arrivals_from_traffic(traffic(pattern=Pattern.PERIODIC))
    for device in range(10):
        own = [a.at_s for a in found if a.device == device]
        steps = [b - a for a, b in itertools.pairwise(own)]
        assert steps == pytest.approx([10 / 200] * len(steps))


def test_devices_do_not_send_all_at_once():
    found = arrivals_from_traffic(traffic(pattern=Pattern.PERIODIC))
    first = {arrival.device: arrival.at_s for arrival in reversed(found)}
    assert len({round(at, 6) for at in first.values()}) == 10


@pytest.mark.parametrize(
    "wrong", [{"rate_per_s": 0.0}, {"seconds": 0.0}, {"devices": 0}, {"frames": 0}]
)
def test_traffic_that_sends_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="above 0"):
        traffic(**wrong)
