"""The demonstration behind `make demo`: a bundle, a server, phantoms, radiographs.

It does what `spinert analyze --bundle ... --overlay ... --json ...` does, with
phantoms whose findings are known and the CR images of the package pydicom-data as
default input, and draws the truth of the phantoms over what was found.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from PIL import Image
from rich.console import Console

from spinert.evaluation.cases import LabelledBox
from spinert.evaluation.truth_drawing import draw_truth
from spinert.phantom.table import ImageTruth
from spinert.phantom.writing import PhantomOrder, write_phantoms
from spinert.proto import inference_pb2 as pb
from spinert.runtime.report.analyze import Job, run_job
from spinert.runtime.report.answers import FileError
from spinert.runtime.report.progress import console, count_progress

OUTPUT = Path("demo-output")
SHEET = OUTPUT / "phantoms.jpg"
COUNT, SEED, LONG_EDGE_PX = 8, 2026, 1600
"""Of the phantoms; no network was trained on this seed."""
COLUMNS, CELL, GAP_PX = 4, (480, 720), 8


def sample_radiographs() -> list[Path]:
    """Return the CR images (chest and tibia) that pydicom-data ships."""
    package = find_spec("data_store")
    if package is None or package.origin is None:
        raise SystemExit("the package pydicom-data is missing: run `make install`")
    return sorted((Path(package.origin).parent / "data").glob("RG*.dcm"))


def made_phantoms(progress: Console) -> dict[Path, ImageTruth]:
    """Write phantoms; returns what is there to be found, by file."""
    order = PhantomOrder(
        directory=OUTPUT / "phantoms",
        split="demo",
        count=COUNT,
        seed=SEED,
        long_edge_px=LONG_EDGE_PX,
        jobs=len(os.sched_getaffinity(0)),
    )
    with count_progress(progress, "drawing phantoms", COUNT) as done:
        truths = write_phantoms(order, done)
    folder = order.directory / f"{order.split}_images"
    named = {}
    for truth in truths:
        path = OUTPUT / f"phantom-{truth.index + 1}.dcm"
        path.symlink_to((folder / f"{truth.image_id}.dicom").relative_to(OUTPUT))
        named[path] = truth
    return named


def lesions_of(truth: ImageTruth) -> list[LabelledBox]:
    """Return what is there to be found."""
    return [LabelledBox(label=each.label, box=each.box) for each in truth.findings]


def draw_sheet(
    answers: Mapping[Path, pb.Verdict], truths: Mapping[Path, ImageTruth]
) -> None:
    """Draw the truth into the pictures of the phantoms, and all on one sheet."""
    rows = -(-len(truths) // COLUMNS)
    width, height = CELL[0] + GAP_PX, CELL[1] + GAP_PX
    extent = (COLUMNS * width + GAP_PX, rows * height + GAP_PX)
    sheet = Image.new("RGB", extent, "black")
    for place, (path, verdict) in enumerate(answers.items()):
        with Image.open(path.with_suffix(".png")) as drawn:
            picture = drawn.convert("RGB")
        shape = verdict.rows, verdict.columns
        draw_truth(picture, shape, lesions_of(truths[path]))
        picture.save(path.with_suffix(".png"), compress_level=3)
        picture.thumbnail(CELL, Image.Resampling.LANCZOS)
        row, column = divmod(place, COLUMNS)
        x = GAP_PX + column * width + (CELL[0] - picture.width) // 2
        sheet.paste(picture, (x, GAP_PX + row * height))
    sheet.save(SHEET, quality=85, optimize=True)


def main() -> None:
    """Analyse, draw, and say where the results are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--input", type=Path, help="folder of DICOM, PNG and JPEG")
    arguments = parser.parse_args()
    out, progress = console(), console(stderr=True)
    if arguments.input and OUTPUT.resolve() in [
        arguments.input.resolve(),
        *arguments.input.resolve().parents,
    ]:
        raise SystemExit(f"{OUTPUT}/ is emptied first: choose another input")
    if OUTPUT.exists():
        shutil.rmtree(OUTPUT)
    truths = {} if arguments.input else made_phantoms(progress)
    given = (arguments.input,) if arguments.input else tuple(sample_radiographs())
    job = Job(
        paths=(*truths, *given),
        server=None,
        bundle=arguments.bundle,
        json_path=OUTPUT / "results.json",
        overlay=OUTPUT,
    )
    answers = run_job(job, out, progress)
    refused = sum(isinstance(answer.outcome, FileError) for answer in answers)
    out.print(
        f"{len(answers) - refused} analysed, {refused} refused; "
        f"pictures and results.json are in {OUTPUT}/"
    )
    if truths:
        asked = {
            answer.path: answer.outcome.verdict
            for answer in answers
            if answer.path in truths and not isinstance(answer.outcome, FileError)
        }
        draw_sheet(asked, truths)
        right = sum(
            (verdict.decision == pb.DECISION_ABNORMAL) == bool(truths[path].findings)
            for path, verdict in asked.items()
        )
        out.print(
            f"{right} of {len(truths)} phantoms rightly called normal or abnormal; "
            f"{SHEET} shows them, what is really there in white brackets"
        )


if __name__ == "__main__":
    main()
