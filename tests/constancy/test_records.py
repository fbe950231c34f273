"""What is kept of a constancy test: a JSON record and a page."""

from __future__ import annotations

import base64
import io
import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from PIL import Image
from rich.console import Console
from support.constancies import BOX, asked, report, result

from spinert.constancy.asking import NoAnswer
from spinert.constancy.charts import Trend, TrendPoint, trend_chart
from spinert.constancy.errors import RecordError
from spinert.constancy.page import page_from_run
from spinert.constancy.records import (
    History,
    Run,
    default_records,
    history_from_records,
    record_from_run,
    trend_of,
    write_record,
)
from spinert.constancy.tables import run_view
from spinert.proto import inference_pb2 as pb

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
NASTY = "<script>alert('x')</script>"
SPUR = ("Osteophytes", 0.8, BOX)


def run(before=None, now=None, **info) -> Run:
    before = before or [asked(result(0.7, [SPUR]), i) for i in range(2)]
    told = pb.ServerInfo(
        runtime_version="9.9",
        bundle_name="tiny",
        bundle_version="1",
        bundle_sha256="ab" * 32,
        backend="fake 1",
        precision="fp32",
        notice="phantom-trained",
        disclaimer="Research use only: not a medical device.",
        **info,
    )
    return Run(
        made_at=NOW,
        server="edge:50051",
        info=told,
        report=report(before, now or before),
    )


@pytest.fixture
def failed() -> Run:
    gone = NoAnswer(reason="NETWORK_FAILED", message="no device")
    now = [asked(result(0.75)), asked(gone, 1)]
    return run(now=now)


class Reader(HTMLParser):
    """Reads text and pictures; fails on tags that are not closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.words, self.tags = [], [], []
        self.feed(page)
        assert self.open == []
        self.text = " ".join(self.words)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def shown(view) -> str:
    console = Console(width=150, record=True)
    with console.capture() as captured:
        console.print(view)
    return captured.get()


# --------------------------------------------------------------------- records


def test_a_record_is_read_back_into_the_trend(tmp_path):
    write_record(tmp_path, run(), "page")
    history = history_from_records(tmp_path)
    assert history.unreadable == ()
    [past] = history.runs
    assert past.made_at == NOW
    assert past.has_passed
    assert (past.score_deviation, past.latency_s) == (0.0, 0.1)
    assert past.bundle_sha256 == "ab" * 32


def test_a_record_tells_every_phantom_and_deviation(failed):
    told = record_from_run(failed)
    assert not told["passed"]
    assert told["bundle"] == {"name": "tiny", "version": "1", "sha256": "ab" * 32}
    first, second = told["cases"]
    assert first["score_deviation"] == pytest.approx(0.05)
    assert {entry["kind"] for entry in first["deviations"]} == {
        "PROBABILITY",
        "FINDING_MISSING",
    }
    assert (first["findings_expected"], first["findings_found_again"]) == (1, 0)
    assert second["probability"] is None
    assert second["deviations"][0]["kind"] == "NO_ANSWER"
    json.dumps(told, allow_nan=False)


def test_a_record_of_a_member_that_is_gone_is_written_all_the_same(tmp_path):
    told = run([asked(result())], [asked(result(members=(0.6,)))])
    write_record(tmp_path, told, "page")
    [past] = history_from_records(tmp_path).runs
    assert not past.has_passed
    assert math.isnan(past.score_deviation)


def test_a_record_tells_the_median_and_the_longest_latency():
    now = [asked(result(), i, latency_s=s) for i, s in enumerate((0.1, 0.2, 0.9))]
    told = record_from_run(run([asked(result(), i) for i in range(3)], now))
    assert (told["latency_median_s"], told["latency_max_s"]) == (0.2, 0.9)
    assert [case["latency_s"] for case in told["cases"]] == [0.1, 0.2, 0.9]


def test_two_runs_of_one_second_are_both_kept(tmp_path):
    first = write_record(tmp_path, run(), "page")
    second = write_record(tmp_path, run(), "page")
    assert first.name == "selftest-20300102T030405Z.html"
    assert second.name == "selftest-20300102T030405Z-2.html"
    assert len(history_from_records(tmp_path).runs) == 2


def test_a_damaged_record_is_named_and_the_rest_is_read(tmp_path):
    write_record(tmp_path, run(), "page")
    (tmp_path / "selftest-torn.json").write_text('{"format": 1, "made_at"')
    (tmp_path / "selftest-future.json").write_text('{"format": 2}')
    (tmp_path / "notes.json").write_text("not ours")
    history = history_from_records(tmp_path)
    assert len(history.runs) == 1
    assert history.unreadable == ("selftest-future.json", "selftest-torn.json")


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RecordError, match=r"cannot be kept in .*--record"):
        write_record(tmp_path / "file", run(), "page")


def test_there_is_no_history_where_there_is_no_folder(tmp_path):
    assert history_from_records(tmp_path / "absent") == History()


def test_the_trend_ends_with_this_run(tmp_path):
    for days in (3, 1, 2):
        made_at = NOW - timedelta(days=days)
        page = write_record(tmp_path, replace(run(), made_at=made_at), "")
        # The time inside counts, whatever became of the name.
        page.with_suffix(".json").rename(tmp_path / f"selftest-{days}.json")
    trend = trend_of(history_from_records(tmp_path), run(), 3)
    assert [NOW - past.made_at for past in trend] == [
        timedelta(days=2),
        timedelta(days=1),
        timedelta(0),
    ]


def test_records_are_state_of_the_user(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert str(default_records()) == "/somewhere/spinert/selftest"


# ------------------------------------------------------------------------ page


def test_a_page_shows_what_was_tested_and_that_it_passed():
    page = Reader(page_from_run(run(), History()))
    for word in ("PASSED", "tiny 1", "ab" * 32, "fake 1, fp32", "edge:50051", "9.9"):
        assert word in page.text
    assert "2030-01-02 03:04:05 UTC" in page.text
    assert "phantom-trained" in page.text
    assert "2 of 2" in page.text
    assert "Outside the limits" not in page.text


def test_a_page_shows_what_failed(failed):
    page = Reader(page_from_run(failed, History()))
    assert "FAILED" in page.text
    assert "0.7500 instead of 0.7000" in page.text
    assert "Osteophytes 0.80 was not found again" in page.text
    assert "NETWORK_FAILED: no device" in page.text
    assert sum(figure.get("class") == "bad" for figure in page.all("figure")) == 2


def test_a_page_holds_a_small_picture_of_every_phantom(failed):
    page = Reader(page_from_run(failed, History()))
    pictures = []
    for attributes in page.all("img"):
        kind, data = attributes["src"].split(",")
        assert kind == "data:image/jpeg;base64"
        pictures.append(Image.open(io.BytesIO(base64.b64decode(data))))
    assert [max(picture.size) for picture in pictures] == [300, 300]


def test_boxes_are_drawn_in_the_colour_of_what_became_of_them():
    # In pixels of the picture, which is three times the phantom of 100 px.
    place = (30, 90)

    def colour(case_run):
        page = Reader(page_from_run(case_run, History()))
        data = page.all("img")[0]["src"].split(",")[1]
        picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
        return picture.getpixel(place)

    with_spur, without = [asked(result(0.7, [SPUR]))], [asked(result(0.7))]
    red, green, blue = colour(run(with_spur, with_spur))
    assert green > red + 40
    red, green, blue = colour(run(with_spur, without))
    assert red > blue + 60
    red, green, blue = colour(run(without, with_spur))
    assert min(red, blue) > green + 40


def test_a_page_tells_that_the_fallback_served():
    told = run(degraded=True, degraded_reason="PREPARING")
    assert (
        "The fallback serves: PREPARING" in Reader(page_from_run(told, History())).text
    )


def test_a_page_names_the_records_it_could_not_read():
    history = History(unreadable=("selftest-torn.json",))
    assert "selftest-torn.json" in Reader(page_from_run(run(), history)).text


def test_a_page_tells_that_other_pixels_were_drawn():
    other = [replace(asked(result(), i), pixels_sha256="0" * 64) for i in range(2)]
    told = run([asked(result(), i) for i in range(2)], other)
    assert Reader(page_from_run(told, History())).text.count("other pixels") == 2
    assert "drawn here with other pixels" in shown(run_view(told))


def test_nothing_a_server_says_becomes_markup():
    told = replace(run(), server=NASTY)
    page = page_from_run(told, History())
    assert NASTY not in page
    assert NASTY in Reader(page).text


# ---------------------------------------------------------------------- charts


def points(*values, passed=True, bundles=None):
    return [
        TrendPoint(
            at=NOW + timedelta(days=index),
            value=value,
            has_passed=passed,
            bundle_sha256=(bundles or "a" * len(values))[index],
        )
        for index, value in enumerate(values)
    ]


def chart(*values, **told):
    trend = Trend(points=points(*values, **told), limit=1.0, unit="ms", name="speed")
    return Reader(trend_chart(trend))


def heights(drawn):
    return [float(mark["cy"]) for mark in drawn.all("circle")]


def test_a_chart_has_a_mark_for_every_run_higher_for_more():
    low, middle, high = heights(chart(0.0, 0.5, 1.0))
    assert low - middle == pytest.approx(middle - high)
    assert middle > high


def test_the_limit_is_at_the_height_of_its_value():
    drawn = chart(0.2, 1.0)
    [edge] = [line for line in drawn.all("line") if line["class"] == "edge"]
    assert float(edge["y1"]) == heights(drawn)[1]


def test_what_was_not_answered_or_is_far_off_stands_at_the_upper_edge():
    missing, far, inside = heights(chart(math.nan, 1000.0, 0.9))
    assert missing == far < inside
    assert "no answer" in chart(math.nan, 0.5).text


def test_a_failed_run_is_marked():
    [mark] = chart(0.5, passed=False).all("circle")
    assert mark["class"] == "mark bad"


def test_a_line_stands_where_the_bundle_changed():
    drawn = chart(0.1, 0.2, 0.3, bundles="aab")
    [line] = [line for line in drawn.all("line") if line["class"] == "change"]
    first, second = (float(mark["cx"]) for mark in drawn.all("circle")[1:])
    assert float(line["x1"]) == pytest.approx((first + second) / 2, abs=0.1)


# ---------------------------------------------------------------------- tables


def test_the_table_tells_every_phantom_and_the_verdict(failed):
    text = shown(run_view(run()))
    assert "PASSED  tiny 1 on fake 1, FP32" in text
    assert "not a medical device. phantom-trained" in text
    text = shown(run_view(failed))
    assert "FAILED  tiny 1" in text
    assert "phantom 0: Osteophytes 0.80 was not found again" in text
    assert "phantom 1: no answer: NETWORK_FAILED: no device" in text
