"""Every error of the export stage; each message is one line with the way out.

ExportError
├── RecipeError        the recipe asks for something that cannot be
├── CheckpointError    a file is unsafe, damaged, or not of this architecture
├── GraphError         the ONNX graph breaks the contract
├── ParityError        ONNX Runtime and PyTorch disagree
├── DestinationError   the bundle cannot be written there
├── WorkerError        a process that helped was ended from outside
└── TrainingError      training cannot start or go on
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "DestinationError",
    "ExportError",
    "GraphError",
    "ParityError",
    "RecipeError",
    "TrainingError",
    "WorkerError",
]


class ExportError(Exception):
    """Base of the tree; no bundle is left behind."""


class RecipeError(ExportError):
    """A recipe is malformed, contradictory or asks for what is not supported."""


class CheckpointError(ExportError):
    """A checkpoint cannot be read safely or does not fit its architecture."""


class GraphError(ExportError):
    """An exported graph uses an operator or a shape outside the contract."""


class ParityError(ExportError):
    """The exported graph does not compute what the PyTorch network computes."""


class DestinationError(ExportError):
    """The target directory exists or cannot be replaced."""


class WorkerError(ExportError):
    """A process that made a part of the bundle was ended before it was done."""


class TrainingError(ExportError):
    """Training lacks data, does not fit its checkpoint, or diverged."""
