"""What company is worth, from made-up times."""

from __future__ import annotations

from collections.abc import Mapping

from spinert.runtime.engine.neighbours import Compared, Neighbours


def compared_from_times(times_s: Mapping[int, float]) -> Compared:
    """Return what is learned when batches of so many frames take so long."""
    size = (1, 1)
    learner, now_s = Neighbours(), 0.0
    for batch, seconds in sorted(times_s.items()):
        for count, duration_s in ((1, times_s[1]), (batch, seconds)):
            learner.observe(size, count, now_s, now_s + duration_s)
            now_s += duration_s
    return learner.compared.get(size) or Compared(
        batches=(1,), shares=(1.0,), larger=()
    )
