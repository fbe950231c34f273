"""The command `spinert`: from checkpoints to verdicts, and what they are worth.

Each command imports what it needs when it runs, so that `spinert --help` and a
client without torch or ONNX Runtime start at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from spinert.commands.bench import bench
from spinert.commands.bundles import build, export, inspect, verify
from spinert.commands.calibrate import calibrate
from spinert.commands.evaluate import evaluate
from spinert.commands.phantom import phantom
from spinert.commands.selftest import selftest
from spinert.commands.serving import analyze, serve
from spinert.commands.simulate import simulate

__all__ = ["main"]

_EXTRAS = {
    **dict.fromkeys(("grpc_health", "imagecodecs", "uvloop"), "cpu"),
    **dict.fromkeys(
        ("onnx", "onnxruntime", "onnxscript", "safetensors", "torch"), "cpu,export"
    ),
    **dict.fromkeys(("matplotlib", "pycocotools", "sklearn"), "cpu,evaluate"),
    **dict.fromkeys(("hdrh", "jsonschema", "mlperf_loadgen", "psutil"), "cpu,bench"),
}
"""Packages that only some commands need, and the extras that bring them."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="spinert")
def cli() -> None:
    """Spine X-ray networks, from checkpoint to verdict.

    Research use only: not a medical device.
    """


_EXPORT = (export, inspect, verify, build)
_SERVE = (serve, analyze, selftest)
_MEASURE = (phantom, evaluate, calibrate, bench, simulate)
for _command in (*_EXPORT, *_SERVE, *_MEASURE):
    cli.add_command(_command)


def _explain(error: Exception) -> str | None:
    """Return one line for an error of ours, None for a bug."""
    from spinert.runtime.errors import SpinertError

    if isinstance(error, SpinertError):
        return f"{error.reason}: {error.message}"
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        return (
            f"the package {error.name} is not installed: "
            f"pip install 'spinert[{_EXTRAS[error.name]}]'"
        )
    if type(error).__module__.startswith("spinert."):
        return str(error)
    return None


def main(command: Callable[[], object] = cli) -> None:
    """Run the command line; errors of ours are one line and exit code 2."""
    try:
        command()
    except Exception as error:
        line = _explain(error)
        if line is None:
            raise
        click.echo(f"error: {line}", err=True)
        sys.exit(2)
