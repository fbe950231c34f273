from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from spinert.proto import inference_pb2 as pb
from spinert.runtime.report.answers import (
    FileAnswer,
    FileError,
    answers_view,
    json_from_answers,
)


def answers():
    result = pb.Result(frame_id="0")
    result.verdict.abnormal_probability = 0.7312
    result.verdict.decision = pb.DECISION_ABNORMAL
    result.verdict.assessment = pb.ASSESSMENT_ABNORMAL
    for score in (0.2, 0.9, 0.5, 0.6):
        result.verdict.findings.add(class_name="Osteophytes", score=score)
    result.receipt.stages.add(name="decode", duration_ms=12.4)
    result.receipt.total_ms = 99.6
    refused = FileError(
        status="INVALID_ARGUMENT", reason="COLOUR_IMAGE", message="send grey"
    )
    return [
        FileAnswer(path=Path("in/spine.dcm"), outcome=result),
        FileAnswer(path=Path("in/colour.dcm"), outcome=refused),
    ]


def printed():
    console = Console(width=160)
    with console.capture() as captured:
        console.print(answers_view(answers()))
    return captured.get()


def test_the_table_shows_probability_decision_best_findings_and_times():
    line = next(line for line in printed().splitlines() if "spine.dcm" in line)
    for words in ("0.731", "abnormal", "Osteophytes 0.90", "12", "100"):
        assert words in line
    assert "4: Osteophytes 0.90 ..." in printed()


def test_an_uncertain_assessment_stands_beside_the_decision():
    served = answers()[0]
    served.outcome.verdict.assessment = pb.ASSESSMENT_UNCERTAIN
    console = Console(width=160)
    with console.capture() as captured:
        console.print(answers_view([served]))
    assert "abnormal (uncertain)" in captured.get()


def test_json_keeps_values_that_are_zero_or_empty():
    result = pb.Result(frame_id="0")
    result.verdict.suppressed.add(class_name="Osteophytes", box=pb.Box(x_max=9))
    (served,) = json.loads(
        json_from_answers([FileAnswer(path=Path("a.dcm"), outcome=result)])
    )
    assert served["verdict"]["findings"] == []
    (finding,) = served["verdict"]["suppressed"]
    assert finding["class_index"] == 0
    assert finding["box"] == {"x_min": 0, "y_min": 0, "x_max": 9, "y_max": 0}


def test_the_table_shows_why_a_file_was_refused():
    line = next(line for line in printed().splitlines() if "colour.dcm" in line)
    assert "COLOUR_IMAGE" in line
    assert "send grey" in line


def test_json_has_one_object_a_file_with_the_error_where_it_was_refused():
    served, refused = json.loads(json_from_answers(answers()))
    assert served["file"] == "in/spine.dcm"
    assert served["verdict"]["findings"][0]["class_name"] == "Osteophytes"
    assert "error" not in served
    assert refused == {
        "file": "in/colour.dcm",
        "error": {
            "status": "INVALID_ARGUMENT",
            "reason": "COLOUR_IMAGE",
            "message": "send grey",
        },
    }
