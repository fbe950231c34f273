"""The record of a constancy test on one page that needs nothing but itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from spinert import __version__
from spinert.constancy.asking import NoAnswer
from spinert.constancy.charts import Trend, TrendPoint, trend_chart
from spinert.constancy.judging import CaseReport, RunReport
from spinert.constancy.pictures import AGAIN, MISSING, NEW, data_url_from_case
from spinert.constancy.records import History, PastRun, Run, trend_of
from spinert.runtime.backends.precision import precision_text
from spinert.runtime.replies import DISCLAIMER
from spinert.runtime.report.html import Html, document, element, joined, text

__all__ = ["page_from_run"]

_LONGEST_TREND: Final = 60
_STYLE: Final = f"""
main {{ padding-top: 24px; }} h2 {{ margin: 24px 0 8px; }}
.tiles {{ display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; }}
.tile {{ background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 10px 14px; }}
.tile b {{ display: block; font-size: 22px; font-variant-numeric: tabular-nums; }}
.tile.bad b {{ color: var(--bad); }}
.tile span {{ color: var(--soft); font-size: 13px; }}
.two {{ display: grid; grid-template-columns: 1fr 1fr; gap: 12px; }}
.two .card {{ margin: 0; padding: 12px 14px; }} .two h4 {{ margin: 0 0 4px; }}
svg.trend {{ height: auto; }} svg.trend text {{ fill: var(--soft); font-size: 11px; }}
svg .axis {{ stroke: var(--line); }} svg .change {{ stroke: var(--soft); }}
svg .edge {{ stroke: var(--ink); stroke-dasharray: 4 3; }}
svg .course {{ fill: none; stroke: var(--bar); stroke-width: 1.5; }}
svg .mark {{ fill: var(--bar); }} svg .mark.bad {{ fill: var(--bad); }}
.phantoms {{ display: grid; grid-template-columns: repeat(5, 1fr); gap: 10px; }}
figure {{ margin: 0; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; overflow: hidden; font-size: 12px; line-height: 1.4; }}
figure.bad {{ border: 2px solid var(--bad); }}
figure img {{ display: block; width: 100%; height: 170px; object-fit: contain;
  background: #000; }}
figcaption {{ padding: 6px 8px; font-variant-numeric: tabular-nums; }}
figcaption b {{ display: block; }} figcaption .out {{ color: var(--bad); }}
i.key {{ display: inline-block; width: 11px; height: 11px; border: 2px solid;
  margin: 0 4px 0 12px; vertical-align: -1px; }}
i.again {{ border-color: {AGAIN}; }} i.missing {{ border-color: {MISSING}; }}
i.new {{ border-color: {NEW}; }}
@media print {{ main {{ max-width: none; padding: 0; }} }}
"""


def page_from_run(run: Run, history: History) -> Html:
    """Return the page of a run, with the trend of those before it."""
    report, info = run.report, run.info
    trend = trend_of(history, run, _LONGEST_TREND)
    return document(
        f"Constancy test {run.made_at:%Y-%m-%d}: {_word(report)}",
        element("h1", text("Constancy test "), _badge(report)),
        element("p", text(DISCLAIMER), css="soft"),
        *([element("p", text(info.notice), css="notice")] if info.notice else []),
        *_degraded(run),
        element("div", _facts(run), css="card"),
        element("div", *_tiles(report), css="tiles"),
        *_what_failed(report),
        element("h2", text("Trend")),
        _trends(trend, report),
        *_unreadable(history),
        element("h2", text("Phantoms")),
        _legend(),
        element("div", *(_figure(case) for case in report.cases), css="phantoms"),
        style=_STYLE,
    )


def _word(report: RunReport) -> str:
    return "PASSED" if report.has_passed else "FAILED"


def _badge(report: RunReport) -> Html:
    css = f"badge {'good' if report.has_passed else 'bad'}"
    return element("span", text(_word(report)), css=css)


def _degraded(run: Run) -> Iterator[Html]:
    if run.info.degraded:
        told = f"The fallback serves: {run.info.degraded_reason}"
        yield element("p", text(told), css="notice")


def _facts(run: Run) -> Html:
    info, limits = run.info, run.report.limits
    facts = {
        "held": f"{run.made_at:%Y-%m-%d %H:%M:%S} UTC by spinert {__version__}",
        "server": f"{run.server}, spinert {info.runtime_version}",
        "backend": f"{info.backend}, {precision_text(info.backend, info.precision)}",
        "bundle": f"{info.bundle_name} {info.bundle_version}",
        "bundle SHA-256": info.bundle_sha256,
        "phantoms": f"{len(limits.cases)} of seed {limits.seed}, "
        f"{limits.long_edge_px} px, version {limits.phantom_version}",
        "limits measured on": limits.measured_on,
    }
    return element(
        "dl",
        *(
            joined((element("dt", text(name)), element("dd", text(value))))
            for name, value in facts.items()
        ),
    )


# -------------------------------------------------------------------- summary


def _tiles(report: RunReport) -> Iterator[Html]:
    limits, cases = report.limits, report.cases
    passed = sum(case.has_passed for case in cases)
    yield _tile(
        f"{passed} of {len(cases)}", "phantoms inside the limits", passed == len(cases)
    )
    deviation = report.score_deviation
    yield _tile(
        _number(deviation, "{:.4f}"),
        f"largest score deviation; {limits.score_tolerance:g} allowed",
        deviation <= limits.score_tolerance,
    )
    again = sum(len(case.found_again) for case in cases)
    wanted = sum(len(case.expected.findings) for case in cases)
    new = sum(len(case.unexpected) for case in cases)
    yield _tile(
        f"{again} of {wanted}",
        f"findings found again; {new} new",
        not any("FINDING" in entry.kind for case in cases for entry in case.deviations),
    )
    yield _tile(
        _number(report.latency_median_s, "{:.3f} s"),
        f"median latency; {limits.latency_limit_s:g} s allowed, slowest "
        f"{_number(report.latency_max_s, '{:.3f} s')}",
        report.latency_median_s <= limits.latency_limit_s,
    )


def _tile(value: str, name: str, is_good: bool) -> Html:
    parts = element("b", text(value)), element("span", text(name))
    return element("div", *parts, css="tile" if is_good else "tile bad")


def _number(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else "none"


def _what_failed(report: RunReport) -> Iterator[Html]:
    told = [entry.text for entry in report.deviations]
    told += [
        f"phantom {case.expected.index}: {entry.text}"
        for case in report.cases
        for entry in case.deviations
    ]
    if told:
        yield element("h2", text("Outside the limits"))
    for line in told:
        yield element("p", text(line), css="failure")


# ---------------------------------------------------------------------- trend


def _trends(trend: Sequence[PastRun], report: RunReport) -> Html:
    limits = report.limits
    scores = _chart(
        trend,
        [run.score_deviation for run in trend],
        (limits.score_tolerance, "", "Largest score deviation"),
    )
    latency = _chart(
        trend,
        [1000 * run.latency_s for run in trend],
        (1000 * limits.latency_limit_s, "ms", "Median latency"),
    )
    return element("div", scores, latency, css="two")


def _chart(
    trend: Sequence[PastRun], values: Sequence[float], told: tuple[float, str, str]
) -> Html:
    limit, unit, name = told
    points = [
        TrendPoint(
            at=run.made_at,
            value=value,
            has_passed=run.has_passed,
            bundle_sha256=run.bundle_sha256,
        )
        for run, value in zip(trend, values, strict=True)
    ]
    count = f", last {len(points)} runs" if len(points) > 1 else ", first run"
    chart = trend_chart(Trend(points=points, limit=limit, unit=unit, name=name))
    return element("div", element("h4", text(name + count)), chart, css="card")


def _unreadable(history: History) -> Iterator[Html]:
    if history.unreadable:
        names = ", ".join(history.unreadable)
        told = f"Not in the trend, because they cannot be read: {names}"
        yield element("p", text(told), css="notice")


# ------------------------------------------------------------------- phantoms


def _legend() -> Html:
    kinds = (("again", "found again"), ("missing", "missing"), ("new", "new"))
    keys = (joined((element("i", css=f"key {css}"), text(name))) for css, name in kinds)
    told = text("p: probability of abnormal now, and as it was.")
    return element("p", told, *keys, css="soft")


def _figure(case: CaseReport) -> Html:
    phantom = case.asked.phantom
    view = f"{phantom.region.value} {phantom.projection.value}".lower()
    picture = element("img", src=data_url_from_case(case), alt=f"phantom, {view}")
    lines = [
        element("b", text(f"{case.expected.index}: {view}")),
        *(element("div", text(line)) for line in _measured(case)),
        *(element("div", text(entry.text), css="out") for entry in case.deviations),
    ]
    if not case.has_same_pixels:
        lines.append(element("div", text("drawn with other pixels here"), css="soft"))
    caption = element("figcaption", *lines)
    return element("figure", picture, caption, css="" if case.has_passed else "bad")


def _measured(case: CaseReport) -> Iterator[str]:
    answer = case.asked.outcome
    if isinstance(answer, NoAnswer):
        return
    now, then = answer.verdict.abnormal_probability, case.expected.abnormal_probability
    yield f"p {now:.3f} ({then:.3f})"
    wanted = len(case.expected.findings)
    again = f"{len(case.found_again)} of {wanted}" if wanted else "no"
    yield f"{again} findings, {1000 * case.asked.latency_s:.0f} ms"
