"""How the tests themselves are set."""

from __future__ import annotations

from hypothesis import settings


def test_no_example_is_timed():
    # Everybody who sets the number of examples takes the rest from here.
    assert settings(max_examples=1).deadline is None
