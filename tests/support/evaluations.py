"""Small data sets in the layout of VinDr-SpineXR, and sources that answer them.

Images are ramps: the fake backend calls dark ones normal and bright ones abnormal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image as Picture

from spinert.evaluation.asking import ImageFile, answer_of, no_answer_of
from spinert.evaluation.cases import Case, LabelledBox
from spinert.evaluation.errors import AnswersLost
from spinert.evaluation.records import Outcome
from spinert.evaluation.subject import Rules, Subject
from spinert.proto import inference_pb2 as pb
from support.bundles import CLASSES, MEMBERS, tiny_spec
from support.engines import pixels

HEADER = "image_id,study_id,series_id,lesion_type,xmin,ymin,xmax,ymax"


@dataclass(frozen=True)
class Radiograph:
    """One image of a data set: `level` is its brightness, 0 to 255."""

    image_id: str
    level: int
    boxes: tuple[LabelledBox, ...] = ()


def lesion(label: str = CLASSES[0], box=(2.0, 3.0, 30.0, 40.0)) -> LabelledBox:
    return LabelledBox(label=label, box=box)


def radiographs(count: int = 8) -> list[Radiograph]:
    """Return images that get brighter; the brighter half has a lesion each."""
    levels = [40 + 180 * i // max(1, count - 1) for i in range(count)]
    return [
        Radiograph(
            f"image{i}",
            level,
            (lesion(CLASSES[i % len(CLASSES)]),) if 2 * i >= count else (),
        )
        for i, level in enumerate(levels)
    ]


def write_images(directory: Path, images: Iterable[Radiograph]) -> list[Case]:
    """Write PNGs and return their cases."""
    directory.mkdir(parents=True, exist_ok=True)
    cases = []
    for image in images:
        path = directory / f"{image.image_id}.png"
        Picture.fromarray(pixels(image.level)).save(path)
        cases.append(
            Case(
                image_id=image.image_id,
                path=path,
                abnormal=bool(image.boxes),
                boxes=image.boxes,
            )
        )
    return cases


def write_vindr(
    data: Path, images: Iterable[Radiograph], *, split: str = "test", rows: str = ""
) -> Path:
    """Write folder and table as in VinDr-SpineXR; `rows` are added to the table."""
    images = list(images)
    write_images(data / f"{split}_images", images)
    lines = [HEADER]
    for image in images:
        start = f"{image.image_id},study,series"
        if not image.boxes:
            lines.append(f"{start},No finding,,,,")
        for box in image.boxes:
            lines.append(f"{start},{box.label},{','.join(map(str, box.box))}")
    table = data / "annotations" / f"{split}.csv"
    table.parent.mkdir(exist_ok=True)
    table.write_text("\n".join(lines) + "\n" + rows)
    return table


def subject(*, sha256: str = "ab" * 32, precision: str = "fp32") -> Subject:
    spec = tiny_spec()
    return Subject(
        bundle_name="tiny",
        bundle_version="1",
        bundle_sha256=sha256,
        notice=spec.notice,
        backend="scripted 1",
        precision=precision,
        device="none",
        runtime_version="0",
        members=MEMBERS,
        classes=CLASSES,
        architectures=(("classifier", "fake"), ("detector", "fake")),
        rules=Rules(decision=spec.decision, fusion=spec.fusion),
    )


@dataclass
class ScriptedSource:
    """Answers from the bytes alone, and may end after some answers."""

    subject: Subject = field(default_factory=subject)
    ends_after: int | None = None
    refused: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)

    def answers(self, images: Iterable[ImageFile]) -> Iterator[Outcome]:
        for image in images:
            if self.ends_after is not None and len(self.asked) == self.ends_after:
                raise AnswersLost("the server is gone; run again to continue")
            self.asked.append(image.image_id)
            if image.image_id in self.refused:
                yield no_answer_of(
                    image, "COLOUR_IMAGE", "send it in grey", is_refusal=True
                )
            else:
                yield answer_of(image, result_of(image.data))


def result_of(data: bytes) -> pb.Result:
    """Return an answer that follows from `data`."""
    p = (sum(data) % 1000) / 999
    result = pb.Result()
    verdict = result.verdict
    verdict.abnormal_probability = p
    verdict.members.add(name=MEMBERS[0], probability=p / 3)
    verdict.members.add(name=MEMBERS[1], probability=0.1 + p / 7)
    abnormal = p >= 0.28
    verdict.decision = pb.DECISION_ABNORMAL if abnormal else pb.DECISION_NORMAL
    verdict.threshold, verdict.rows, verdict.columns = 0.28, 80, 64
    box = pb.Box(x_min=2, y_min=3, x_max=29.7, y_max=40)
    verdict.findings.add(class_name=CLASSES[0], score=0.6 + p / 10, box=box)
    verdict.suppressed.add(class_index=2, class_name=CLASSES[2], score=0.1, box=box)
    return result


def other(subject: Subject, **changes: object) -> Subject:
    return replace(subject, **changes)  # type: ignore[arg-type]
