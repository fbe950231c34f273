"""docs/errors.md lists exactly the reasons there are, with their statuses."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import grpc
import pytest

from spinert.runtime import errors
from spinert.runtime.client.errors import message_too_large
from spinert.runtime.errors import Reason
from spinert.runtime.server.faults import refusal_from_exception

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "errors.md"
ROW = re.compile(r"^\| `([A-Z_0-9]+)` \| `([A-Z_]+)` \| (.+) \| (.+) \|$")


def rows():
    return [
        m.groups() for line in PAGE.read_text().splitlines() if (m := ROW.match(line))
    ]


def raised(tree):
    """Yield (class, reason) for every `SomeError(Reason.SOME, ...)` of a module."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Name(id=name),
                args=[ast.Attribute(value=ast.Name(id="Reason"), attr=reason), *_],
            ) if name in errors.__all__:
                yield getattr(errors, name), Reason[reason]


@pytest.fixture(scope="module")
def answered():
    """Return the statuses that the code answers with, by reason."""
    statuses = defaultdict(set)
    for path in (ROOT / "runtime").rglob("*.py"):
        for error, reason in raised(ast.parse(path.read_text())):
            statuses[reason].add(error.status)
    # Two that no class of the tree carries.
    statuses[Reason.MESSAGE_TOO_LARGE].add(message_too_large(2, 1).status)
    statuses[Reason.INTERNAL].add(refusal_from_exception(ValueError()).status)
    return statuses


def test_every_reason_is_explained_once_and_no_other():
    listed = [reason for reason, *_ in rows()]
    assert sorted(listed) == sorted(reason.value for reason in Reason)


@pytest.mark.parametrize("reason", Reason)
def test_the_status_on_the_page_is_the_one_the_code_answers_with(reason, answered):
    (told,) = [status for name, status, *_ in rows() if name == reason]
    assert answered[reason] == {grpc.StatusCode[told]}


def test_every_reason_has_a_meaning_and_a_way_out():
    for _, _, meaning, way_out in rows():
        assert meaning.endswith(".")
        assert way_out.endswith(".")


def test_the_status_of_a_file_that_was_never_sent_is_explained():
    assert "`UNREADABLE`" in PAGE.read_text()
