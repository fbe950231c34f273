"""Run as a program: serve as support.serve does, with an engine that soon gives up."""

import runpy

from spinert.runtime.server import serve as life


class _FailingEngine(life.Engine):
    """Gives up with the first frame, which is still answered."""

    def submit(self, request):
        future = super().submit(request)
        self.on_failure()
        return future


if __name__ == "__main__":
    life.Engine = _FailingEngine  # type: ignore[misc]
    runpy.run_module("support.serve", run_name="__main__")
