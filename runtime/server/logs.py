"""Logs: one JSON object a line, and nothing in it that could name a patient.

Our own records are an event name and fields. Records of libraries keep only
their origin: pydicom, Pillow and gRPC put values and exception texts into theirs.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import traceback
from pathlib import PurePath
from typing import Any, TextIO

__all__ = ["JsonFormatter", "event", "log_to"]

_OWN = "spinert"
_FIELDS = "spinert_fields"
_LOG = logging.getLogger(__name__)


def event(
    logger: logging.Logger,
    level: int,
    name: str,
    *,
    error: BaseException | None = None,
    **fields: str | float | bool,
) -> None:
    """Log event `name` with `fields`; of `error` only its type and place."""
    if not logger.isEnabledFor(level):
        return
    told: dict[str, str | float | bool] = dict(fields)
    if error is not None:
        told |= {"error": type(error).__name__, "at": _place(error)}
    logger.log(level, "%s", name, extra={_FIELDS: told})


def log_to(stream: TextIO = sys.stderr, level: int = logging.INFO) -> None:
    """Send every record of this process to `stream` as JSON lines.

    Exceptions that nobody catches, on whatever thread, become such records too:
    Python would print their text.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(True)
    sys.excepthook = lambda kind, error, trace: _uncaught(error)
    sys.unraisablehook = lambda unraisable: _uncaught(unraisable.exc_value)
    threading.excepthook = _uncaught_on_thread


def _uncaught_on_thread(args: Any) -> None:
    name = args.thread.name if args.thread is not None else ""
    _uncaught(args.exc_value, thread=name)


def _uncaught(error: BaseException | None, **fields: str) -> None:
    event(_LOG, logging.CRITICAL, "uncaught", error=error, **fields)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time (RFC 3339, UTC), level, event, and the event's fields."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, str | float | bool] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
        }
        if record.name.split(".")[0] == _OWN:
            line["event"] = record.getMessage()
            line |= getattr(record, _FIELDS, {})
        else:
            line["event"] = "library"
            line["logger"] = record.name
            line["at"] = f"{record.filename}:{record.lineno}"
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = type(record.exc_info[1]).__name__
            line["error_at"] = _place(record.exc_info[1])
        return json.dumps(line)


def _place(error: BaseException) -> str:
    """Return where `error` was raised, innermost last: file:line, no text."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " > ".join(f"{PurePath(f.filename).name}:{f.lineno}" for f in frames)
