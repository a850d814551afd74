"""Boxes that people drew around objects, in the two formats that data sets use: COCO's JSON and Pascal VOC's XML."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from cvtool.errors import BadInputError, UsageError
from cvtool.files import read_input
from cvtool.models.imagenet import folded


@dataclass(frozen=True)
class LabelledBox:
    """One object.

    Attributes:
        label: what it is called there: a name, or (ImageNet's own boxes) a WordNet id.
        x0, y0, x1, y1: its edges as shares of the picture's width and height, so that a resized picture keeps them.
    """

    label: str
    x0: float
    y0: float
    x1: float
    y1: float


Boxes = Mapping[str, tuple[LabelledBox, ...]]
"""All boxes of a picture by the stem of its file's name; pictures without boxes are left out."""


def read_boxes(spec: str) -> Boxes:
    """``coco:DIR`` or ``voc:DIR`` → boxes by picture.

    Raises:
        UsageError: another form.
        BadInputError: the folder is not laid out that way, or a file in it is broken.
    """
    kind, _, folder = spec.partition(":")
    if kind not in _READERS or not folder:
        raise UsageError(f"'{spec}' names no boxes. Give coco:DIR or voc:DIR.")
    return _READERS[kind](Path(folder))


def _coco(folder: Path) -> Boxes:
    """``DIR/annotations/instances_*.json``, or such files in DIR itself."""
    files = sorted(folder.glob("annotations/instances_*.json")) or sorted(folder.glob("instances_*.json"))
    if not files:
        raise BadInputError(f"'{folder}' has no annotations/instances_*.json, so it is no COCO folder. Try voc:DIR.")
    found: dict[str, list[LabelledBox]] = defaultdict(list)
    for file in files:
        try:
            data = json.loads(read_input(file))
            names = {each["id"]: str(each["name"]) for each in data["categories"]}
            pictures = {each["id"]: each for each in data["images"]}
            for each in data["annotations"]:
                picture = pictures[each["image_id"]]
                left, top, width, height = map(float, each["bbox"])
                edges = (left, top, left + width, top + height)
                box = _box(names[each["category_id"]], edges, float(picture["width"]), float(picture["height"]))
                found[Path(picture["file_name"]).stem].append(box)
        except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
            raise BadInputError(f"'{file}' is no COCO instances file: {_why(error)}.") from error
    return {stem: tuple(boxes) for stem, boxes in found.items()}


def _voc(folder: Path) -> Boxes:
    """``DIR/Annotations/*.xml``, at any depth below it; a picture's file is called as its XML."""
    place = folder / "Annotations"
    files = sorted((place if place.is_dir() else folder).rglob("*.xml"))
    if not files:
        raise BadInputError(f"'{folder}' has no Annotations/*.xml, so it is no Pascal VOC folder. Try coco:DIR.")
    found = {}
    for file in files:
        try:
            root = ElementTree.fromstring(read_input(file))  # expat refuses entities that grow without end
            width, height = (float(_text(root, f"size/{side}")) for side in ("width", "height"))
            boxes = []
            for each in root.iter("object"):
                x0, y0, x1, y1 = (float(_text(each, f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax"))
                boxes.append(_box(_text(each, "name"), (x0 - 1, y0 - 1, x1, y1), width, height))  # counted from 1
        except (ValueError, LookupError, ArithmeticError, ElementTree.ParseError) as error:
            raise BadInputError(f"'{file}' is no Pascal VOC annotation: {_why(error)}.") from error
        if boxes:
            found[file.stem] = tuple(boxes)
    return found


def _box(label: str, edges: tuple[float, float, float, float], width: float, height: float) -> LabelledBox:
    def share(value: float, whole: float) -> float:
        return min(1.0, max(0.0, value / whole))

    x0, y0, x1, y1 = edges
    return LabelledBox(label, share(x0, width), share(y0, height), share(x1, width), share(y1, height))


def _text(node: ElementTree.Element, path: str) -> str:
    text = node.findtext(path)
    if text is None:
        raise KeyError(path)
    return text.strip()


def _why(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__


_READERS: dict[str, Callable[[Path], Boxes]] = {"coco": _coco, "voc": _voc}


def boxes_of(names: tuple[str, ...], boxes: tuple[LabelledBox, ...]) -> tuple[LabelledBox, ...]:
    """Those of the boxes whose label is one of the names (case, spaces, ``_`` and ``-`` alike); all if none is."""
    wanted = {folded(name) for name in names}
    return tuple(box for box in boxes if folded(box.label) in wanted) or boxes
