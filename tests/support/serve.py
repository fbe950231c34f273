"""Run as a program: serve a bundle, with a log level of the test's choice."""

import logging
import sys
from functools import partial
from pathlib import Path

from spinert.runtime.config import settings_from_toml
from spinert.runtime.errors import SetupError
from spinert.runtime.server import serve as life

if __name__ == "__main__":
    bundle, config, level = sys.argv[1:]
    life.log_to = partial(life.log_to, level=logging.getLevelName(level))
    try:
        sys.exit(life.serve(Path(bundle), settings_from_toml(Path(config))))
    except SetupError as error:
        sys.exit(f"{error.reason}: {error.message}")
