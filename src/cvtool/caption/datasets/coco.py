"""``coco:DIR``: ``annotations/captions_*.json`` with a folder of pictures for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cvtool.caption.datasets.data import SPLIT_NAMES, Reading
from cvtool.caption.datasets.reading import read_json
from cvtool.errors import BadInputError
from cvtool.files import folder_of_pictures, shown

KIND = "COCO captions file"


def is_coco(folder: Path) -> bool:
    """Whether a folder holds such files."""
    return bool(_files(folder))


def read_coco(folder: Path) -> Reading:
    """Captions in COCO's JSON. The files' names give the splits: ``captions_train2017.json`` → train, val → dev.

    Files whose names give none are split by hash.

    Raises:
        BadInputError: there are no such files, they are broken, or no folder holds their pictures.
    """
    files = _files(folder)
    if not files:
        raise BadInputError(
            f"'{shown(folder)}' has no annotations/captions_*.json, so it is no COCO folder. Try jsonl:FILE."
        )
    reading = Reading.empty()
    for file in files:
        _read(file, folder, reading)
    if len(reading.splits) < len(reading.captions):
        reading.splits = {}  # some file's name gives no split: none is believed
    return reading


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("annotations/captions_*.json")) or sorted(folder.glob("captions_*.json"))


def _read(file: Path, folder: Path, reading: Reading) -> None:
    data = read_json(file, KIND)
    try:
        names = _names(data["images"], reading)
        captions: dict[str, list[str]] = {name: [] for name in names.values()}
        for each in data["annotations"]:
            captions[names[each["image_id"]]].append(_text(each["caption"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInputError(f"'{shown(file)}' is no {KIND}: {_why(error)}. Check the path.") from error
    part = file.stem.removeprefix("captions_")
    places = [folder / part, folder / "images" / part, folder / "images", folder]
    pictures = folder_of_pictures(places, list(captions))
    split = SPLIT_NAMES.get(part.rstrip("0123456789_-").lower())
    for name, texts in captions.items():
        if name in reading.captions:
            reading.report(name, f"is in two files, the second is {file.name}")
            continue
        reading.captions[name] = texts
        reading.paths[name] = pictures / name
        if split is not None:
            reading.splits[name] = split


def _names(images: Any, reading: Reading) -> dict[Any, str]:
    """Number of a picture → its file's name; a number or a name that comes twice is a problem."""
    names: dict[Any, str] = {}
    for each in images:
        name = _text(each["file_name"])
        if each["id"] in names:
            raise ValueError(f"two pictures have the id {each['id']}")
        names[each["id"]] = name
    if len(set(names.values())) < len(names):
        seen: set[str] = set()
        for name in names.values():
            if name in seen:
                reading.report(name, "is listed twice")
            seen.add(name)
    return names


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} stands where a text should")
    return value.strip()


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        key = error.args[0]
        return f"it has no '{shown(key)}'" if isinstance(key, str) else f"a caption is of picture {key}, not listed"
    return shown(error)
