"""What answers say of their origin."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.fronts import answer_with, identity

from spinert.proto import inference_pb2 as pb
from spinert.runtime.replies import (
    FrameNames,
    result_from_answer,
    server_info_from_identity,
)
from spinert.runtime.verdict import NetworkRun

OLD = NetworkRun(
    network="classifier", backend="onnxruntime 1", precision="fp32", is_degraded=True
)
NEW = NetworkRun(
    network="detector", backend="tensorrt 10", precision="fp16", engine_key="abc"
)


def provenance(*runs):
    answer = replace(answer_with(), runs=runs)
    return result_from_answer(answer, identity(), FrameNames()).provenance


def test_an_answer_of_one_backend_names_it_once():
    told = provenance(NEW, replace(NEW, network="classifier"))
    assert (told.backend, told.precision) == ("tensorrt 10", "fp16")
    assert told.engine_key == "abc"
    assert not told.degraded


def test_engines_are_named_in_order_of_the_networks():
    assert provenance(NEW, replace(NEW, engine_key="def")).engine_key == "abc + def"


@pytest.mark.parametrize("runs", [(OLD, NEW), (NEW, OLD)])
def test_an_answer_of_two_backends_is_degraded_and_says_which_ran_what(runs):
    told = provenance(*runs)
    assert told.degraded
    assert set(told.backend.split(" + ")) == {"onnxruntime 1", "tensorrt 10"}
    assert list(told.networks) == [
        pb.NetworkRun(
            role=run.network,
            backend=run.backend,
            precision=run.precision,
            engine_key=run.engine_key,
            degraded=run is OLD,
        )
        for run in runs
    ]


def test_a_recomputed_network_is_marked():
    told = provenance(OLD, replace(NEW, is_recomputed=True))
    assert [run.recomputed for run in told.networks] == [False, True]


def test_an_answer_without_networks_names_the_backend_of_the_moment():
    assert provenance().backend == identity().provenance.backend
    assert not provenance().networks


@pytest.mark.parametrize("reason", ["", "PREPARING"])
def test_the_server_says_why_it_is_degraded(reason):
    told = replace(identity(), degraded_reason=reason)
    info = server_info_from_identity(told, pb.Limits(), 1.0)
    assert info.degraded is bool(reason)
    assert info.degraded_reason == reason
