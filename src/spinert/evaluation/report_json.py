"""The report for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

from spinert import __version__
from spinert.evaluation.comparing import Versus
from spinert.evaluation.evaluating import Evaluation
from spinert.evaluation.froc import FrocCurve
from spinert.evaluation.fusion_sweep import FusionSweep
from spinert.evaluation.problems import counts_of
from spinert.evaluation.report_page import Report
from spinert.evaluation.subject import json_from_subject, precision_text
from spinert.runtime.replies import DISCLAIMER

__all__ = ["json_from_report"]

_FORMAT: Final = 1


def json_from_report(report: Report) -> str:
    """Return a JSON object; figures are shares from 0 to 1, null where undefined.

    An estimate is {value, low, high, reason}; `reason` says why one is undefined.
    """
    found = report.found
    values: dict[str, Any] = {
        "format": _FORMAT,
        "disclaimer": DISCLAIMER,
        "made_at": report.made_at.isoformat(timespec="seconds"),
        "spinert": __version__,
        "subject": _subject(found),
        "split": found.split,
        "annotations": _annotations(found),
        "images": _images(found),
        "decision": asdict(found.operating),
        "bootstrap": asdict(found.bootstrap),
        "classification": [asdict(row) for row in found.classification],
        "average_precision": None
        if found.precision_recall is None
        else found.precision_recall.average_precision,
        "calibration": asdict(found.calibration),
        "detector": asdict(found.detector),
        "framework": asdict(found.framework),
        "froc": [_froc(curve) for curve in found.frocs],
        "fusion_sweep": _sweep(found.sweep),
        "reverse_fusion": asdict(found.reverse),
        "comparison": None if report.versus is None else _versus(report.versus),
    }
    return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _subject(found: Evaluation) -> dict[str, Any]:
    told = {"precision_text": precision_text(found.subject)}
    return json_from_subject(found.subject) | told


def _annotations(found: Evaluation) -> dict[str, Any]:
    known = found.annotations
    return {
        "table": found.table,
        "rows": known.rows,
        "merge": known.merge,
        "problem_counts": counts_of(known.problems),
        "problems": [asdict(problem) for problem in known.problems],
    }


def _images(found: Evaluation) -> dict[str, Any]:
    return {
        "annotated": len(found.annotations.cases),
        "evaluated": len(found.pairs),
        "abnormal": int(found.pairs.truth.sum()),
        "continued": found.continued,
        "unanswered": [asdict(outcome) for outcome in found.unanswered],
    }


def _froc(curve: FrocCurve) -> dict[str, Any]:
    return {
        "label": curve.label,
        "lesions": curve.lesions,
        "at": [{"false_positives_per_image": x, "sensitivity": y} for x, y in curve.at],
        "mean_sensitivity": curve.mean_sensitivity,
    }


def _sweep(sweep: FusionSweep | None) -> dict[str, Any] | None:
    return None if sweep is None else asdict(sweep)


def _versus(versus: Versus) -> dict[str, Any]:
    return {
        "subject": json_from_subject(versus.subject)
        | {"precision_text": precision_text(versus.subject)},
        "images": versus.images,
        "left_out": versus.left_out,
        **asdict(versus.comparison),
    }
