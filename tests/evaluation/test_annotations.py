"""Tables of annotations, good and bad: reported by row, never dropped silently."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from support.dicoms import phantom, radiograph

from spinert.evaluation.annotations import read_annotations
from spinert.evaluation.errors import AnnotationError, DataError
from spinert.evaluation.images import image_index, image_size
from spinert.evaluation.labels import FINDINGS, Kind, Merge, meaning_of
from spinert.evaluation.problems import Problem, ProblemCode, counts_of

CLASSES = (
    "Osteophytes",
    "Surgical implant",
    "Spondylolysthesis",
    "Foraminal stenosis",
    "Disc space narrowing",
    "Vertebral collapse",
    "Other lesions",
)
HEADER = "image_id,study_id,series_id,lesion_type,xmin,ymin,xmax,ymax"
# Of the split, not of a row: few rows have boxes of all classes.
SPLIT = {ProblemCode.EMPTY_CLASS, ProblemCode.ONE_CLASS_SPLIT}


def data(tmp_path: Path, *names: str) -> Path:
    """Make empty files that count as images of the test split."""
    folder = tmp_path / "test_images"
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return tmp_path


def read(tmp_path, *rows, header=HEADER, size=(1000, 2000), **options):
    """Read a table of `rows`; every image is of `size`."""
    table = tmp_path / "test.csv"
    table.write_text("\n".join((header, *rows)) + "\n")
    return read_table(table, tmp_path, size=size, **options)


def read_table(table, tmp_path, *, size=(1000, 2000), **options):
    options = {"classes": CLASSES, "split": "test"} | options
    return read_annotations(table, tmp_path, size_of=lambda path: size, **options)


def reported(annotations):
    """Return (row, image, code) of each problem that is of a row or image."""
    return [
        (p.row, p.image_id, p.code) for p in annotations.problems if p.code not in SPLIT
    ]


def only_case(annotations):
    (case,) = annotations.cases
    return case


def test_a_good_table_becomes_cases_in_its_order_without_a_complaint(tmp_path):
    data(tmp_path, "b.dicom", "a.png")
    found = read(
        tmp_path,
        "b,s,r,Osteophytes,10.5,20,30,40",
        "a,s,r,No finding,,,,",
        "b,s,r,Spondylolysthesis,1,2,3,4",
    )
    b, a = found.cases
    assert (b.image_id, b.path.name, b.abnormal) == ("b", "b.dicom", True)
    assert [(x.label, x.box) for x in b.boxes] == [
        ("Osteophytes", (10.5, 20, 30, 40)),
        ("Spondylolysthesis", (1, 2, 3, 4)),
    ]
    assert (a.image_id, a.path.name, a.abnormal, a.boxes) == ("a", "a.png", False, ())
    assert reported(found) == []
    assert found.rows == 3


def test_every_class_without_a_box_and_a_split_of_one_kind_are_reported(tmp_path):
    data(tmp_path, "a.png")
    found = read(tmp_path, "a,s,r,Osteophytes,1,2,3,4")
    assert counts_of(found.problems) == {
        ProblemCode.EMPTY_CLASS: 6,
        ProblemCode.ONE_CLASS_SPLIT: 1,
    }
    assert "every image is abnormal" in found.problems[-1].text


@pytest.mark.parametrize(
    "columns",
    [
        "image_id,study_id,lesion_type,xmin,ymin,xmax,ymax",
        "study_id,series_id,image_id,rad_id,lesion_type,xmin,ymin,xmax,ymax",
    ],
)
def test_series_and_reader_may_be_there_or_not_in_any_order(tmp_path, columns):
    data(tmp_path, "a.png")
    values = {"image_id": "a", "lesion_type": "Osteophytes"}
    values |= {"xmin": "1", "ymin": "2", "xmax": "3", "ymax": "4"}
    row = ",".join(values.get(name, "x") for name in columns.split(","))
    found = read(tmp_path, row, header="\ufeff" + columns)
    assert only_case(found).boxes[0].box == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER.replace("lesion_type", "label"), "no column lesion_type"),
        (HEADER + ",weight", "'weight'"),
        (HEADER + ",series_id", "twice"),
        ("", "no column image_id"),
    ],
)
def test_another_header_is_refused(tmp_path, header, message):
    data(tmp_path, "a.png")
    with pytest.raises(AnnotationError, match=message):
        read(tmp_path, "a,s,r,No finding,,,,", header=header)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00", "UTF-8"),
        (HEADER.encode() + b'\n"a', "line 2"),
    ],
)
def test_a_table_that_is_no_csv_is_refused(tmp_path, content, message):
    data(tmp_path, "a.png")
    table = tmp_path / "test.csv"
    table.write_bytes(content)
    with pytest.raises(AnnotationError, match=message):
        read_table(table, tmp_path)


@pytest.mark.parametrize("name", ["none.csv", "none.json", "table.txt"])
def test_a_table_that_is_not_there_or_of_no_known_kind_is_refused(tmp_path, name):
    with pytest.raises(AnnotationError, match=name):
        read_table(tmp_path / name, data(tmp_path, "a.png"))


BAD_BOXES = [
    ("one,2,3,4", ProblemCode.BAD_NUMBER),
    ("1,,3,4", ProblemCode.BAD_NUMBER),
    ("1,nan,3,4", ProblemCode.BAD_NUMBER),
    ("1,2,inf,4", ProblemCode.BAD_NUMBER),
    (",,,", ProblemCode.MISSING_BOX),
    ("nan,NaN,nan,nan", ProblemCode.MISSING_BOX),
    ("5,2,3,4", ProblemCode.INVERTED_BOX),
    ("1,5,3,4", ProblemCode.INVERTED_BOX),
    ("1,2,1.0005,4", ProblemCode.EMPTY_BOX),
    ("1000,0,1100,50", ProblemCode.BOX_OUTSIDE),
    ("-9,0,0,50", ProblemCode.BOX_OUTSIDE),
]


@pytest.mark.parametrize(("corners", "code"), BAD_BOXES)
def test_a_bad_box_is_no_truth_but_its_image_stays_abnormal(tmp_path, corners, code):
    data(tmp_path, "a.png")
    found = read(tmp_path, f"a,s,r,Osteophytes,{corners}")
    assert reported(found) == [(2, "a", code)]
    assert only_case(found).abnormal
    assert only_case(found).boxes == ()


def test_a_box_across_the_edge_is_cut_and_reported(tmp_path):
    data(tmp_path, "a.png")
    rows = [
        "a,s,r,Osteophytes,-5,10,1000.5,20",
        "a,s,r,Osteophytes,5,-10,10,2000.5",
    ]
    found = read(tmp_path, *rows)
    assert reported(found) == [
        (2, "a", ProblemCode.BOX_CLIPPED),
        (3, "a", ProblemCode.BOX_CLIPPED),
    ]
    wide, high = only_case(found).boxes
    assert (wide.box, high.box) == ((0, 10, 1000, 20), (5, 0, 10, 2000))
    assert "1000 x 2000" in found.problems[0].text


def test_a_box_up_to_the_very_edge_is_fine(tmp_path):
    data(tmp_path, "a.png")
    assert reported(read(tmp_path, "a,s,r,Osteophytes,0,0,1000,2000")) == []


def test_where_the_size_is_unknown_boxes_stay_and_that_is_said_once(tmp_path):
    data(tmp_path, "a.png")
    rows = ["a,s,r,Osteophytes,0,0,9999,9", "a,s,r,Osteophytes,0,0,9,9"]
    found = read(tmp_path, *rows, size=None)
    assert reported(found) == [(None, "a", ProblemCode.SIZE_UNKNOWN)]
    assert len(only_case(found).boxes) == 2


def test_a_size_is_asked_for_only_where_there_are_boxes(tmp_path):
    data(tmp_path, "a.png", "b.png")
    table = tmp_path / "t.csv"
    table.write_text(
        f"{HEADER}\na,s,r,No finding,,,,\nb,s,r,Fracture,1,1,2,2\n"
        "b,s,r,Osteophytes,1,1,2,2\n"
    )
    asked = []

    def size_of(path):
        asked.append(path.name)
        return 10, 10

    read_annotations(table, tmp_path, classes=CLASSES, split="test", size_of=size_of)
    assert asked == ["b.png"]


def test_rows_without_an_image_and_images_without_rows_are_reported(tmp_path):
    data(tmp_path, "a.png", "extra.dcm")
    found = read(
        tmp_path,
        "a,s,r,No finding,,,,",
        "lost,s,r,Osteophytes,1,2,3,4",
        "lost,s,r,Fracture,1,2,3,4",
        ",s,r,No finding,,,,",
    )
    assert reported(found) == [
        (3, "lost", ProblemCode.ROW_WITHOUT_IMAGE),
        (4, "lost", ProblemCode.ROW_WITHOUT_IMAGE),
        (5, None, ProblemCode.EMPTY_IMAGE_ID),
        (None, "extra", ProblemCode.IMAGE_WITHOUT_ROWS),
    ]
    assert only_case(found).image_id == "a"


@pytest.mark.parametrize("corners", ["1,2,3", "1,2,3,4,5"])
def test_a_row_of_another_length_is_reported_with_its_line(tmp_path, corners):
    data(tmp_path, "a.png")
    rows = ["a,s,r,No finding,,,,", "", f"a,s,r,Osteophytes,{corners}"]
    found = read(tmp_path, *rows)
    assert reported(found) == [(4, None, ProblemCode.BAD_ROW)]
    assert not only_case(found).abnormal


def test_an_identical_row_counts_once(tmp_path):
    data(tmp_path, "a.png")
    row = "a,s,r,Osteophytes,1,2,3,4"
    found = read(tmp_path, row, "a,s,r,Fracture,1,2,3,4", row)
    assert reported(found) == [(4, "a", ProblemCode.DUPLICATE_ROW)]
    assert [b.label for b in only_case(found).boxes] == ["Osteophytes", "Other lesions"]


@pytest.mark.parametrize("label", ["Scoliosis", ""])
def test_an_unknown_label_makes_its_image_abnormal_without_a_box(tmp_path, label):
    data(tmp_path, "a.png")
    found = read(tmp_path, f"a,s,r,{label},1,2,3,4")
    assert reported(found) == [(2, "a", ProblemCode.UNKNOWN_LABEL)]
    assert only_case(found).abnormal
    assert only_case(found).boxes == ()


@pytest.mark.parametrize(
    ("merge", "labels"), [(Merge.PAPER, ["Other lesions"]), (Merge.OFFICIAL, [])]
)
def test_a_rare_finding_is_merged_or_not_evaluated(tmp_path, merge, labels):
    data(tmp_path, "a.png")
    found = read(tmp_path, "a,s,r,Enthesophytes,1,2,3,4", merge=merge)
    assert [b.label for b in only_case(found).boxes] == labels
    assert only_case(found).abnormal
    codes = [code for _, _, code in reported(found)]
    assert codes == ([] if labels else [ProblemCode.NOT_EVALUATED])


@pytest.mark.parametrize(("merge", "abnormal"), [("paper", True), ("official", False)])
def test_no_finding_beside_a_lesion_is_settled_as_documented(tmp_path, merge, abnormal):
    data(tmp_path, "a.png")
    rows = ["a,s,r,No finding,,,,", "a,s,r,Osteophytes,1,2,3,4"]
    found = read(tmp_path, *rows, merge=Merge(merge))
    assert reported(found) == [(2, "a", ProblemCode.CONTRADICTION)]
    assert only_case(found).abnormal is abnormal
    assert len(only_case(found).boxes) == 1


def test_a_box_of_no_finding_is_ignored_and_reported(tmp_path):
    data(tmp_path, "a.png")
    found = read(tmp_path, "a,s,r,No finding,1,2,3,4")
    assert reported(found) == [(2, "a", ProblemCode.BOX_ON_NO_FINDING)]
    assert not only_case(found).abnormal
    assert only_case(found).boxes == ()


@pytest.mark.parametrize(
    ("names", "used"),
    [(("a.jpg", "a.dicom"), ".dicom"), (("b/a.png", "a.jpg"), ".png")],
)
def test_of_two_files_of_one_image_dicom_is_used_and_a_jpeg_last(tmp_path, names, used):
    (tmp_path / "test_images" / "b").mkdir(parents=True)
    data(tmp_path, *names)
    found = read(tmp_path, "a,s,r,No finding,,,,")
    assert only_case(found).path.suffix == used
    assert reported(found) == [(None, "a", ProblemCode.DUPLICATE_IMAGE)]


def test_a_table_of_other_images_is_refused(tmp_path):
    data(tmp_path, "a.png")
    with pytest.raises(AnnotationError, match="none of the images"):
        read(tmp_path, "b,s,r,No finding,,,,")


def test_a_split_that_is_not_there_is_refused(tmp_path):
    data(tmp_path, "a.png")
    with pytest.raises(DataError, match="val_images"):
        read(tmp_path, "a,s,r,No finding,,,,", split="val")


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no \.dicom"):
        image_index(tmp_path)


def test_without_a_split_the_folder_holds_the_images(tmp_path):
    data(tmp_path, "a.png")
    found = read(tmp_path / "test_images", "a,s,r,No finding,,,,", split=None)
    assert only_case(found).image_id == "a"


def test_the_thirteen_findings_are_known_in_any_case_and_spelling():
    kinds = {meaning_of(name.upper(), CLASSES, Merge.PAPER).kind for name in FINDINGS}
    assert kinds == {Kind.CLASS}
    assert len(set(FINDINGS)) == 13
    meaning = meaning_of(" spondylolisthesis ", CLASSES, Merge.PAPER)
    assert meaning.name == "Spondylolysthesis"
    own = meaning_of("Spondylolysthesis", ["Spondylolisthesis"], Merge.PAPER)
    assert own.name == "Spondylolisthesis"
    assert meaning_of("no  FINDING", CLASSES, Merge.PAPER).kind is Kind.NO_FINDING


def test_a_bundle_without_other_lesions_merges_nothing():
    meaning = meaning_of("Fracture", ["Osteophytes"], Merge.PAPER)
    assert meaning.kind is Kind.NOT_EVALUATED


def test_counts_come_in_the_order_of_the_codes():
    problems = [
        Problem(row=1, image_id="a", code=code, text="")
        for code in (ProblemCode.CROWD, ProblemCode.BAD_ROW, ProblemCode.CROWD)
    ]
    assert list(counts_of(problems).items()) == [
        (ProblemCode.BAD_ROW, 1),
        (ProblemCode.CROWD, 2),
    ]


def coco(**changes):
    """Return a COCO file: an image with one box, and one without any."""
    content = {
        "images": [
            {"id": 7, "file_name": "lateral/a.png", "width": 1000, "height": 2000},
            {"id": 8, "file_name": "b.png"},
        ],
        "annotations": [{"image_id": 7, "category_id": 1, "bbox": [10, 20, 30, 40]}],
        "categories": [{"id": 1, "name": "Osteophytes"}],
    }
    return content | changes


def read_coco(tmp_path, content):
    data(tmp_path, "a.png", "b.png")
    table = tmp_path / "instances.json"
    table.write_text(json.dumps(content))
    return read_table(table, tmp_path)


def test_coco_images_without_annotations_are_normal(tmp_path):
    a, b = read_coco(tmp_path, coco()).cases
    assert (a.image_id, a.abnormal, a.boxes[0].box) == ("a", True, (10, 20, 40, 60))
    assert (b.image_id, b.abnormal, b.boxes) == ("b", False, ())


@pytest.mark.parametrize(
    ("annotation", "code"),
    [
        ({"iscrowd": 1}, ProblemCode.CROWD),
        ({"bbox": [1, 2, -3, 4]}, ProblemCode.INVERTED_BOX),
        ({"bbox": [1, 2, 3]}, ProblemCode.BAD_NUMBER),
        ({"bbox": [1, 2, 3, "4"]}, ProblemCode.BAD_NUMBER),
        ({"bbox": [1, 2, 3, 10**400]}, ProblemCode.BAD_NUMBER),
        ({"bbox": None}, ProblemCode.MISSING_BOX),
        ({"category_id": 9}, ProblemCode.UNKNOWN_LABEL),
    ],
)
def test_a_bad_coco_annotation_is_reported_by_its_position(tmp_path, annotation, code):
    good = {"image_id": 8, "category_id": 1, "bbox": [1, 2, 3, 4]}
    bad = {"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4]} | annotation
    found = read_coco(tmp_path, coco(annotations=[good, bad]))
    assert reported(found) == [(2, "a", code)]
    assert found.cases[0].abnormal
    assert found.cases[0].boxes == ()


def test_coco_annotations_of_no_image_and_images_listed_twice_are_reported(tmp_path):
    images = [*coco()["images"], {"id": 9, "file_name": "a.png"}]
    images.append({"id": 10, "file_name": "lost.png"})
    stray = {"image_id": 99, "category_id": 1, "bbox": [1, 2, 3, 4]}
    found = read_coco(tmp_path, coco(images=images, annotations=[stray]))
    assert reported(found) == [
        (1, None, ProblemCode.ROW_WITHOUT_IMAGE),
        (3, "a", ProblemCode.DUPLICATE_IMAGE),
        (None, "lost", ProblemCode.ROW_WITHOUT_IMAGE),
    ]


def test_a_coco_size_that_is_not_the_files_is_reported(tmp_path):
    images = [{"id": 7, "file_name": "a.png", "width": 512, "height": 512}]
    found = read_coco(tmp_path, coco(images=images))
    codes = [code for _, image, code in reported(found) if image == "a"]
    assert codes == [ProblemCode.SIZE_MISMATCH]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "no object"),
        ({"images": []}, "'categories'"),
        (coco(images=[{"id": 1}]), "entry 1 of 'images'"),
        (coco(categories=[{"id": [1], "name": "x"}]), "entry 1 of 'categories'"),
        (coco(annotations=[{"image_id": 7}]), "'category_id'"),
        (coco(annotations=["x"]), "'image_id'"),
    ],
)
def test_another_layout_than_cocos_is_refused(tmp_path, content, message):
    with pytest.raises(AnnotationError, match=message):
        read_coco(tmp_path, content)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    table = tmp_path / "t.json"
    table.write_bytes(b"{")
    with pytest.raises(AnnotationError, match="not JSON"):
        read_table(table, data(tmp_path, "a.png"))


def test_sizes_come_from_the_headers_of_dicom_and_png(tmp_path):
    dicom, png, broken = (tmp_path / name for name in ("a.dicom", "b.png", "c.dcm"))
    dicom.write_bytes(radiograph(phantom(30, 40)))
    Image.new("L", (40, 30)).save(png)
    broken.write_bytes(b"DICM?")
    assert image_size(dicom) == (40, 30)
    assert image_size(png) == (40, 30)
    assert image_size(broken) is None
    assert image_size(tmp_path / "none.png") is None
