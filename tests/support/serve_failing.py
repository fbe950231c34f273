"""Run as a program: serve as support.serve does, with an engine that soon gives up."""

import runpy
import threading

from spinert.runtime.server import serve as life

_FAILS_AFTER_S = 0.5


class _FailingEngine(life.Engine):
    def warm_up(self) -> None:
        super().warm_up()
        threading.Timer(_FAILS_AFTER_S, self.on_failure).start()


if __name__ == "__main__":
    life.Engine = _FailingEngine  # type: ignore[misc]
    runpy.run_module("support.serve", run_name="__main__")
