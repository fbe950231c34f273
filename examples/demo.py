"""The demonstration behind `make demo`: a bundle, a server, real radiographs.

It does what `spinert analyze --bundle ... --overlay ... --json ...` does, with
the CR images of the package pydicom-data as default input.
"""

from __future__ import annotations

import argparse
import shutil
from importlib.util import find_spec
from pathlib import Path

from spinert.runtime.report.analyze import Job, run_job
from spinert.runtime.report.answers import FileError
from spinert.runtime.report.progress import console

OUTPUT = Path("demo-output")


def sample_radiographs() -> list[Path]:
    """Return the CR images (chest and tibia) that pydicom-data ships."""
    package = find_spec("data_store")
    if package is None or package.origin is None:
        raise SystemExit("the package pydicom-data is missing: run `make install`")
    return sorted((Path(package.origin).parent / "data").glob("RG*.dcm"))


def main() -> None:
    """Analyse, draw, and say where the results are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--input", type=Path, help="folder of DICOM, PNG and JPEG")
    arguments = parser.parse_args()
    out = console()
    if arguments.input and OUTPUT.resolve() in [
        arguments.input.resolve(),
        *arguments.input.resolve().parents,
    ]:
        raise SystemExit(f"{OUTPUT}/ is emptied first: choose another input")
    if OUTPUT.exists():
        shutil.rmtree(OUTPUT)
    job = Job(
        paths=(arguments.input,) if arguments.input else tuple(sample_radiographs()),
        server=None,
        bundle=arguments.bundle,
        json_path=OUTPUT / "results.json",
        overlay=OUTPUT,
    )
    answers = run_job(job, out, console(stderr=True))
    refused = sum(isinstance(answer.outcome, FileError) for answer in answers)
    out.print(
        f"{len(answers) - refused} analysed, {refused} refused; "
        f"pictures and results.json are in {OUTPUT}/"
    )


if __name__ == "__main__":
    main()
