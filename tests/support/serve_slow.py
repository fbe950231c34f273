"""Run as a program: serve as support.serve does, with support.slow_backend."""

import runpy

from spinert.runtime import backends

if __name__ == "__main__":
    backends.BACKENDS["slow"] = "support.slow_backend:SlowBackend"
    runpy.run_module("support.serve", run_name="__main__")
