"""A constancy test through a real server."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial

import pytest
from rich.console import Console
from support.fronts import ScriptedEngine, front_in_a_thread
from support.phantoms import ramp_phantom
from support.servers import serving, toml_from, write_served_bundle

from spinert.constancy.asking import NoAnswer
from spinert.constancy.deviations import Kind
from spinert.constancy.errors import NoLimitsError
from spinert.constancy.holding import LimitOrder, Subject, hold_test, measure_limits
from spinert.constancy.limits import LimitChoices
from spinert.runtime.bundle import load_bundle
from spinert.runtime.errors import ConfigError

QUIET = Console(quiet=True)
# A machine that is busy with other tests must not fail this one.
CHOICES = LimitChoices(count=6, seed=5, long_edge_px=160, latency_limit_s=600.0)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    work = tmp_path_factory.mktemp("config")
    tables = {
        "backend": {"name": "fake"},
        "decode": {"workers": 1},
        "golden": {"state_dir": str(work / "state")},
    }
    path = work / "server.toml"
    path.write_text(toml_from(tables))
    return path


@pytest.fixture(scope="module")
def limited(tmp_path_factory, config):
    work = tmp_path_factory.mktemp("bundles")
    order = LimitOrder(
        bundle=write_served_bundle(work / "plain"),
        config=config,
        output=work / "limited",
        choices=CHOICES,
    )
    return measure_limits(order, QUIET, ramp_phantom)


@pytest.fixture(scope="module")
def server(limited, tmp_path_factory):
    with serving(limited.directory, tmp_path_factory.mktemp("server")) as running:
        yield running


def held(server, draw=ramp_phantom):
    return hold_test(Subject(server=server.address), QUIET, draw)


def kinds(run):
    return {entry.kind for case in run.report.cases for entry in case.deviations}


def test_limits_are_a_revision_of_the_bundle(limited):
    spec = load_bundle(limited.directory).spec
    assert spec.version.startswith("1+limits.20")
    [revision] = spec.provenance.revisions
    assert revision.tool.startswith("spinert selftest ")
    assert revision.note == "limits of the constancy test, measured on fake 1, FP32"
    assert len(spec.constancy.cases) == CHOICES.count
    assert len({case.decision for case in spec.constancy.cases}) == 2
    assert any(case.findings for case in spec.constancy.cases)
    assert all(len(case.members) == 2 for case in spec.constancy.cases)


def test_an_appliance_that_answers_as_it_did_passes(server):
    run = held(server)
    assert run.report.has_passed
    assert run.report.score_deviation == 0
    assert all(case.has_same_pixels for case in run.report.cases)
    assert run.info.bundle_name == "tiny"
    assert run.server == server.address


def test_last_bits_of_the_phantom_do_not_fail_it_and_are_told(server):
    run = held(server, partial(ramp_phantom, shift=1))
    assert run.report.has_passed
    assert 0 < run.report.score_deviation < CHOICES.score_tolerance
    assert not any(case.has_same_pixels for case in run.report.cases)


def test_scores_that_drift_fail_it(server):
    run = held(server, partial(ramp_phantom, shift=-120))
    assert not run.report.has_passed
    assert {Kind.PROBABILITY, Kind.MEMBER, Kind.FINDING_SCORE} <= kinds(run)
    assert run.report.score_deviation > CHOICES.score_tolerance


def test_findings_that_vanish_fail_it(server):
    run = held(server, lambda key: ramp_phantom(replace(key, index=0)))
    assert {Kind.FINDING_MISSING, Kind.DECISION} <= kinds(run)


def test_a_server_that_refuses_the_phantoms_fails_it(server):
    def tiny(key):
        phantom = ramp_phantom(key)
        return replace(phantom, pixels=phantom.pixels[:4, :4])

    run = held(server, tiny)
    assert kinds(run) == {Kind.NO_ANSWER}
    assert math.isnan(run.report.latency_median_s)
    outcome = run.report.cases[0].asked.outcome
    assert isinstance(outcome, NoAnswer)
    assert outcome.reason == "DIMENSIONS_OUT_OF_RANGE"


def test_a_server_without_limits_cannot_be_tested():
    with (
        front_in_a_thread(ScriptedEngine()) as front,
        pytest.raises(NoLimitsError, match=r"the bundle tiny .* stores no limits"),
    ):
        hold_test(Subject(server=front.address), QUIET, ramp_phantom)


def test_limits_do_not_replace_a_bundle_unasked(limited, config):
    before = json.loads((limited.directory / "bundle.json").read_text())
    order = LimitOrder(
        bundle=limited.directory,
        config=config,
        output=limited.directory,
        choices=LimitChoices(count=1, long_edge_px=160),
    )
    with pytest.raises(ConfigError, match="a bundle is there"):
        measure_limits(order, QUIET, ramp_phantom)
    assert json.loads((limited.directory / "bundle.json").read_text()) == before
