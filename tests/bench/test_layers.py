"""Layers by their time, whatever backend tells of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from spinert.bench.layers import layers_of, layers_told
from spinert.runtime.backends.profiled import LayerTime


class TimedBackend:
    """Tells the runs it was asked for as the time of its only layer."""

    def layer_times(self, role, inputs, runs):
        return (LayerTime(name=f"{role} of {inputs}", count=1, duration_ms=runs),)


def networks_on(backend):
    return SimpleNamespace(
        backend=backend, inputs=lambda frame: {"classifier": frame, "detector": frame}
    )


def layer(name, duration_ms, count=1):
    return LayerTime(name=name, count=count, duration_ms=duration_ms)


def test_layers_are_told_by_their_time():
    told = layers_told([layer("Relu", 0.2), layer("Conv", 0.6, 3), layer("Add", 0.2)])
    assert told["total_ms"] == pytest.approx(1.0)
    assert told["layers"][0] == {
        "operator": "Conv",
        "nodes": 3,
        "ms": 0.6,
        "share": pytest.approx(0.6),
    }
    assert [each["operator"] for each in told["layers"]] == ["Conv", "Relu", "Add"]


def test_those_that_take_least_are_told_together():
    layers = layers_told([layer(f"Op{i:02}", 100 - i, 2) for i in range(15)])["layers"]
    assert len(layers) == 13
    assert layers[-1]["operator"] == "others"
    assert layers[-1]["nodes"] == 6
    assert layers[-1]["ms"] == 88 + 87 + 86
    assert sum(each["share"] for each in layers) == pytest.approx(1)


def test_a_name_too_long_for_a_plot_keeps_its_ends():
    name = " + ".join(f"/features/denseblock{i}/Conv" for i in range(5))
    (told,) = layers_told([layer(name, 1.0)])["layers"]
    assert len(told["operator"]) < 60
    assert told["operator"].startswith("/features/denseblock0")
    assert told["operator"].endswith("/denseblock4/Conv")


def test_a_network_without_layers_is_told_as_such():
    assert layers_told([]) == {"total_ms": 0, "layers": []}
    (told,) = layers_told([layer("Conv", 0.0)])["layers"]
    assert told["share"] == 0


def test_every_network_is_asked_for_the_frame_and_the_runs():
    told = layers_of(networks_on(TimedBackend()), "a frame", 6)
    assert [(each["network"], each["total_ms"]) for each in told] == [
        ("classifier", 6),
        ("detector", 6),
    ]
    assert told[0]["layers"][0]["operator"] == "classifier of a frame"


def test_a_backend_that_cannot_tell_is_not_asked():
    assert layers_of(networks_on(object()), "a frame", 6) == []
