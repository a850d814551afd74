"""Captions in files of their own: JSON lines, COCO's results and COCO's captions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from cvtool.errors import BadInputError
from cvtool.files import read_input, shown

_NAME_KEYS = ("image_id", "image", "input", "id")
"""Where a row says which picture it is about. ``id`` comes last: COCO's annotations have one of their own besides.
``input`` is what ``cvtool caption describe --json`` writes."""

_FORMS = 'Give lines of {"image": …, "captions": […]}, or JSON as COCO has it'


@dataclass(frozen=True)
class CaptionFile:
    """The captions of a file.

    Attributes:
        path: the file, for messages.
        captions: picture → its captions, at least one each, as they stand in the file. A picture that has a number
            for a name is called by its digits.
        other_names: other names that the file gives its pictures → the name in `captions`: COCO's ``file_name``.
    """

    path: str
    captions: Mapping[str, tuple[str, ...]]
    other_names: Mapping[str, str] = field(default_factory=dict)


def read_caption_file(path: str | Path) -> CaptionFile:
    """The captions of pictures, references or hypotheses, in a UTF-8 file of one of these forms.

    - JSON lines, or a JSON list, of objects that name the picture under ``image``, ``id``, ``image_id`` or ``input``
      and hold ``captions`` (a list of texts) or ``caption`` (one text; more rows may add more). COCO's results are of
      this form, and so is what ``cvtool caption describe --json`` writes; its rows with an ``error`` are passed over.
    - COCO's captions: an object with ``annotations`` and mostly ``images``.

    Raises:
        BadInputError: the file cannot be read, is of another form, or some row is broken: which one and why.
    """
    text = _decoded(path)
    document = _document(path, text)
    if document is None:
        return CaptionFile(str(path), _gathered(path, _lines(path, text)))
    if isinstance(document, dict) and "annotations" in document:
        return _coco(path, document)
    rows = document if isinstance(document, list) else [document]
    return CaptionFile(str(path), _gathered(path, _numbered("row", rows)))


def matched(hypotheses: CaptionFile, references: CaptionFile) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """What `score_texts` takes: one caption per picture, and the references of all pictures, under the same names.

    A hypothesis belongs to the picture of the same name, or else to that of the same file name whatever the folder, or
    else without the suffix too; COCO's pictures are known by number and by file name.

    Raises:
        BadInputError: two captions for one picture, one without references or that could belong to several pictures,
            or an empty reference.
    """
    find = _finder(references)
    found: dict[str, str] = {}
    for name, captions in hypotheses.captions.items():
        key = find(name, hypotheses.path)
        if len(captions) > 1 or key in found:
            what = f"holds several captions for the picture '{shown(name)}'"
            raise _broken(hypotheses.path, None, what, "Keep one for each picture")
        if not all(text.strip() for text in references.captions[key]):
            what = f"holds an empty caption for the picture '{shown(key)}'"
            raise _broken(references.path, None, what, "Write it, or take it out")
        found[key] = captions[0]
    return found, dict(references.captions)


def _finder(references: CaptionFile) -> Callable[[str, str], str]:
    """Which picture of the references a name means; the function's second argument is the file it stands in."""
    exact = {**references.other_names, **{name: name for name in references.captions}}
    looser = [(shorten, _by(shorten, exact)) for shorten in (_file_name, _stem)]

    def find(name: str, where: str) -> str:
        if name in exact:
            return exact[name]
        for shorten, pictures in looser:
            keys = pictures.get(shorten(name), set())
            if len(keys) > 1:
                some = " or ".join(f"'{shown(key)}'" for key in sorted(keys)[:2])
                what = f"has a caption for '{shown(name)}', which could mean {some} of '{shown(references.path)}'"
                raise _broken(where, None, what, "Name the pictures alike in both files")
            if keys:
                return min(keys)
        first = shown(next(iter(references.captions)))
        what = f"has a caption for '{shown(name)}', which is not in '{shown(references.path)}'"
        raise _broken(where, None, what, f"Name the pictures as there, like '{first}'")

    return find


def _by(shorten: Callable[[str], str], names: Mapping[str, str]) -> dict[str, set[str]]:
    pictures: dict[str, set[str]] = {}
    for name, key in names.items():
        pictures.setdefault(shorten(name), set()).add(key)
    return pictures


def _file_name(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name


def _stem(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).stem


def _decoded(path: str | Path) -> str:
    data = read_input(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _broken(path, f"line {line}", "is not UTF-8 text", "Save the file as UTF-8") from error
    if not text.strip():
        raise _broken(path, None, "is empty", _FORMS)
    return text


def _document(path: str | Path, text: str) -> Any:
    """The file as one JSON list or object; None where it is lines of them."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise _broken(path, None, "is nested too deeply", _FORMS) from error
    except ValueError as error:
        first = text.lstrip().split("\n", 1)[0].strip()
        if first.startswith("[") or first == "{":  # a list, or an object over several lines
            raise _broken(path, None, f"is broken JSON ({_reason(error)})", "Write or fetch it again") from error
        return None


def _lines(path: str | Path, text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):  # no splitlines(): JSON allows U+2028 inside a text
        if not line.strip():
            continue
        try:
            yield f"line {number}", json.loads(line)
        except RecursionError as error:
            raise _broken(path, f"line {number}", "is nested too deeply", _FORMS) from error
        except ValueError as error:
            raise _broken(path, f"line {number}", f"is no JSON ({_reason(error)})", _FORMS) from error


def _numbered(kind: str, rows: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"{kind} {number}", row) for number, row in enumerate(rows, start=1))


def _gathered(path: str | Path, rows: Iterable[tuple[str, Any]]) -> dict[str, tuple[str, ...]]:
    captions: dict[str, list[str]] = {}
    complete = set()  # pictures whose captions came as a list
    for where, row in rows:
        if not isinstance(row, dict):
            raise _broken(path, where, "is no object", _FORMS)
        if "error" in row and not row.keys() & {"caption", "captions"}:
            continue  # a picture that `caption describe` could not read
        name = _name(path, where, row)
        if name in complete or (name in captions and "captions" in row):
            what = f"names the picture '{shown(name)}' again"
            raise _broken(path, where, what, "Put all captions of a picture into one row")
        if "captions" in row:
            complete.add(name)
        captions.setdefault(name, []).extend(_texts(path, where, row))
    if not captions:
        raise _broken(path, None, "holds no captions", _FORMS)
    return {name: tuple(texts) for name, texts in captions.items()}


def _coco(path: str | Path, document: Mapping[str, Any]) -> CaptionFile:
    annotations, images = document["annotations"], document.get("images", [])
    if not isinstance(annotations, list) or not isinstance(images, list):
        raise _broken(path, None, "has 'annotations' or 'images' that are no list", "Give COCO's captions_*.json")
    if annotations and isinstance(annotations[0], dict) and "caption" not in annotations[0]:
        raise _broken(path, None, "holds annotations that are no captions", "Give COCO's captions_*.json")
    captions = _gathered(path, _numbered("annotation", annotations))
    other_names = {}
    for where, image in _numbered("image", images):
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str):
            raise _broken(path, where, "has no 'file_name'", "Write or fetch the file again")
        name = _name(path, where, image)
        if name in captions:
            other_names[_text(path, where, image["file_name"])] = name
    return CaptionFile(str(path), captions, other_names)


def _name(path: str | Path, where: str, row: Mapping[str, Any]) -> str:
    key = next((key for key in _NAME_KEYS if key in row), None)
    if key is None:
        raise _broken(path, where, "names no picture", 'Add "image" with its name')
    value = row[key]
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise _broken(path, where, f"has no name or number under '{key}'", "Write the picture's name or number there")
    return _text(path, where, str(value))


def _texts(path: str | Path, where: str, row: Mapping[str, Any]) -> list[str]:
    if "captions" not in row and "caption" not in row:
        raise _broken(path, where, "has no caption", 'Add "captions" with a list of texts, or "caption" with one')
    texts = row["captions"] if "captions" in row else [row["caption"]]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _broken(path, where, "has a caption that is no text", 'Give "captions" a list of texts, "caption" one')
    if not texts:
        raise _broken(path, where, "has an empty list of captions", "Write a caption, or take the row out")
    return [_text(path, where, text) for text in texts]


def _text(path: str | Path, where: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # "\ud800" alone is valid JSON, but nothing that can be written again
        raise _broken(path, where, "holds half a character (a lone surrogate)", "Write the text again") from error
    return text


def _broken(path: str | Path, where: str | None, what: str, todo: str) -> BadInputError:
    place = f"'{shown(path)}'" if where is None else f"{where.capitalize()} of '{shown(path)}'"
    return BadInputError(f"{place} {what}. {todo}.")


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, line {error.lineno}, column {error.colno}"
    return shown(error)
