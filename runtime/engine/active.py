"""How many devices share the engine at the moment."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

__all__ = ["ActiveDevices"]

_WINDOW_S: Final = 1.0


class ActiveDevices:
    """Devices that have sent a frame within the last second, admitted or not.

    Not for two threads at once.
    """

    def __init__(self) -> None:
        """Start without any."""
        self._seen_s: OrderedDict[str, float] = OrderedDict()

    def count(self, device: str, now_s: float) -> int:
        """Note a frame of `device` and return how many devices there are."""
        self._seen_s[device] = now_s
        self._seen_s.move_to_end(device)
        while next(iter(self._seen_s.values())) < now_s - _WINDOW_S:
            self._seen_s.popitem(last=False)
        return len(self._seen_s)
