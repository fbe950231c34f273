"""The loads of an open loop, as figures that two reports are compared by."""

from __future__ import annotations

import pytest
from support.fronts import ScriptedEngine, front_in_a_thread

from spinert.bench.arrivals import Pattern
from spinert.bench.frames import RAW, FramePlan, frames_from_plan
from spinert.bench.tables import devices_text
from spinert.bench.traffic import TrafficPlan, measured_traffic, traffic_figures


def figures(devices: tuple[int, ...]) -> list[str]:
    plan = TrafficPlan(
        capacity_per_s=8.0, seconds=1.0, devices=devices, pattern=Pattern.POISSON
    )
    loads = [
        {
            "varied": varied,
            "offered_per_s": rate,
            "devices": count,
            "p50_ms_by_part": [1.0, 2.0],
        }
        for varied, rate, count in plan.loads()
    ]
    return [figure.name for figure in traffic_figures(loads, 8.0)]


def test_a_load_is_named_by_what_is_varied_not_by_its_place():
    """So that 16 devices are never compared with 64."""
    one, other = figures((1, 16)), figures((16, 64))
    assert set(one) & set(other) == {
        "traffic.load.25%.latency_p50",
        "traffic.load.50%.latency_p50",
        "traffic.load.75%.latency_p50",
        "traffic.load.90%.latency_p50",
        "traffic.devices.16.latency_p50",
    }
    assert len(one) == len(other) == 6


def test_of_many_devices_those_are_counted_that_sent_a_frame():
    plan = TrafficPlan(
        capacity_per_s=20.0, seconds=0.4, devices=(1, 256), pattern=Pattern.POISSON
    )
    frames = frames_from_plan(FramePlan(syntaxes=(RAW,), long_edges_px=(256,)))
    with front_in_a_thread(ScriptedEngine()) as front:
        *_, one, many = measured_traffic(front.address, frames, plan)
    assert (one["devices"], one["devices_that_sent"]) == (1, 1)
    assert many["devices"] == 256
    assert 1 < many["devices_that_sent"] <= many["sent"] < 20


@pytest.mark.parametrize(
    ("load", "told"),
    [
        ({"devices": 8, "sent": 40, "devices_that_sent": 8}, "8"),
        ({"devices": 256, "sent": 21, "devices_that_sent": 20}, "256 (20 sent)"),
        ({"devices": 256, "sent": 21}, "256 (at most 21 sent)"),
        ({"devices": 8, "sent": 40}, "8"),
    ],
)
def test_a_load_too_short_for_all_its_devices_is_told(load, told):
    assert devices_text(load) == told
