"""Boxes in COCO's and Pascal VOC's formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cvtool.annotations import LabelledBox, boxes_of, read_boxes
from cvtool.errors import BadInputError, UsageError


def coco(folder: Path, **changes: object) -> Path:
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 200, "height": 100}],
        "categories": [{"id": 3, "name": "teddy bear"}],
        "annotations": [{"image_id": 7, "category_id": 3, "bbox": [20, 10, 60, 80]}],
    }
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations/instances_val.json").write_text(json.dumps(content | changes))
    return folder


def voc(folder: Path, box: str = "<xmin>21</xmin><ymin>11</ymin><xmax>80</xmax><ymax>90</ymax>") -> Path:
    (folder / "Annotations").mkdir(exist_ok=True)
    (folder / "Annotations/a.xml").write_text(
        "<annotation><size><width>200</width><height>100</height></size>"
        f"<object><name>teddy bear</name><bndbox>{box}</bndbox></object></annotation>"
    )
    return folder


BEAR = LabelledBox("teddy bear", 0.1, 0.1, 0.4, 0.9)


def test_both_formats_say_the_same(tmp_path: Path):
    assert read_boxes(f"coco:{coco(tmp_path)}") == {"a": (BEAR,)}
    assert read_boxes(f"voc:{voc(tmp_path)}") == {"a": (BEAR,)}


def test_boxes_end_where_the_picture_ends(tmp_path: Path):
    where = coco(tmp_path, annotations=[{"image_id": 7, "category_id": 3, "bbox": [-5, 50, 500, 80]}])
    assert read_boxes(f"coco:{where}")["a"] == (LabelledBox("teddy bear", 0, 0.5, 1, 1),)


def test_boxes_of_a_class():
    cup, other = LabelledBox("n03063599", 0, 0, 1, 1), LabelledBox("coffee_mug", 0, 0, 0.5, 1)
    assert boxes_of(("n03063599", "coffee mug"), (cup, BEAR)) == (cup,)
    assert boxes_of(("n03063599", "Coffee-Mug"), (cup, BEAR, other)) == (cup, other)
    assert boxes_of(("coffee  mug",), (cup, other)) == (other,), "as blanks are taken in names of classes elsewhere"
    assert boxes_of(("tench",), (cup, BEAR)) == (cup, BEAR)


@pytest.mark.parametrize("spec", ["coco", "coco:", "yolo:there", ""])
def test_what_names_no_boxes(spec: str):
    with pytest.raises(UsageError, match="coco:DIR"):
        read_boxes(spec)


def test_what_is_laid_out_otherwise(tmp_path: Path):
    for kind in ("coco", "voc"):
        with pytest.raises(BadInputError, match="Try"):
            read_boxes(f"{kind}:{tmp_path}")
        with pytest.raises(BadInputError, match="Try"):
            read_boxes(f"{kind}:{tmp_path / 'absent'}")


@pytest.mark.parametrize("changes", [{"images": []}, {"categories": [{"id": 3}]}, {"annotations": 5}])
def test_a_broken_json(tmp_path: Path, changes: dict):
    with pytest.raises(BadInputError, match=r"instances_val\.json"):
        read_boxes(f"coco:{coco(tmp_path, **changes)}")
    (tmp_path / "annotations/instances_val.json").write_text("{")
    with pytest.raises(BadInputError, match=r"instances_val\.json"):
        read_boxes(f"coco:{tmp_path}")


@pytest.mark.parametrize("box", ["", "<xmin>a</xmin>", "<xmin>1</ymin>"])
def test_a_broken_xml(tmp_path: Path, box: str):
    with pytest.raises(BadInputError, match=r"a\.xml"):
        read_boxes(f"voc:{voc(tmp_path, box)}")


def test_real_boxes_of_coco(shared_data: Path):
    boxes = read_boxes(f"coco:{shared_data / 'coco-mini'}")
    assert len(boxes) > 60
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for each in boxes.values() for box in each)
