"""docs/errors.md lists exactly the reasons there are, with their statuses."""

import re
from pathlib import Path

import grpc

from spinert.runtime.errors import Reason

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
ROW = re.compile(r"^\| `([A-Z_]+)` \| `([A-Z_]+)` \| (.+) \| (.+) \|$")


def rows():
    return [
        m.groups() for line in PAGE.read_text().splitlines() if (m := ROW.match(line))
    ]


def test_every_reason_is_explained_once_and_no_other():
    listed = [reason for reason, *_ in rows()]
    assert sorted(listed) == sorted(reason.value for reason in Reason)


def test_every_reason_has_a_status_a_meaning_and_a_way_out():
    for _, status, meaning, way_out in rows():
        assert status in grpc.StatusCode.__members__
        assert meaning.endswith(".")
        assert way_out.endswith(".")
