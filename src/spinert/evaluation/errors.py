"""Every error of the evaluation; each message is one line with the way out.

EvaluationError
├── AnnotationError    the table of annotations cannot be read as what it claims
├── DataError          the images are not where they should be
├── PredictionError    predictions do not belong to the annotated images
├── SplitError         the images cannot answer the question asked of them
├── StoreError         stored predictions cannot be read or written
├── AnswersLost        whatever answers the images is gone, or became another
└── ReportError        the report cannot be written
"""

from __future__ import annotations

__all__ = [
    "AnnotationError",
    "AnswersLost",
    "DataError",
    "EvaluationError",
    "PredictionError",
    "ReportError",
    "SplitError",
    "StoreError",
]


class EvaluationError(Exception):
    """Base of the tree; nothing was measured."""


class AnnotationError(EvaluationError):
    """A table has the wrong columns, the wrong layout, or nothing to evaluate."""


class DataError(EvaluationError):
    """A folder of images is missing or empty."""


class PredictionError(EvaluationError):
    """Predictions are missing, doubled, or of images that are not annotated."""


class SplitError(EvaluationError):
    """The images lack normal or abnormal ones, or no threshold separates them."""


class StoreError(EvaluationError):
    """A file of predictions is damaged, of another kind, or cannot be written."""


class AnswersLost(EvaluationError):
    """The server or engine ended or changed; what was answered is stored."""


class ReportError(EvaluationError):
    """A page, table or picture cannot be written."""
