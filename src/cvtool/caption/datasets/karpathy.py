"""Karpathy's ``dataset_flickr8k.json``, ``dataset_coco.json``: captions and the splits that papers compare on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvtool.caption.datasets.data import SPLIT_NAMES, Reading
from cvtool.caption.datasets.reading import read_json
from cvtool.errors import BadInputError
from cvtool.files import folder_of_pictures, shown
from cvtool.flickr8k import PICTURE_FOLDERS

KIND = "split file"


def karpathy_file(place: Path) -> Path | None:
    """The one file ``dataset_*.json`` in a folder, or such a file itself."""
    if place.is_file():
        return place if place.suffix.lower() == ".json" else None
    files = sorted(place.glob("dataset_*.json"))
    return files[0] if len(files) == 1 else None


def read_karpathy(place: Path) -> Reading:
    """Captions and splits of such a file, or of the one in a folder; the pictures lie beside it.

    Raises:
        BadInputError: there is no such file, it is broken, or no folder holds its pictures.
    """
    file = karpathy_file(place)
    if file is None:
        raise BadInputError(f"'{shown(place)}' is no Karpathy split file and holds no single one (dataset_*.json).")
    reading = Reading.empty()
    inner: dict[str, str] = {}
    for each in _images(read_json(file, KIND), file):
        try:
            name = str(each["filename"])
            texts = [str(sentence["raw"]).strip() for sentence in each["sentences"]]
            split = _split(each["split"])
            inner[name] = str(each.get("filepath", ""))
        except (KeyError, TypeError, ValueError) as error:
            raise _broken(file, error) from error
        if name in reading.captions:
            reading.report(name, "is listed twice")
            continue
        reading.captions[name] = texts
        reading.splits[name] = split
    _find_pictures(file.parent, inner, reading)
    return reading


def _find_pictures(folder: Path, inner: Mapping[str, str], reading: Reading) -> None:
    for part in dict.fromkeys(inner.values()):
        names = [name for name in reading.captions if inner[name] == part]
        places = [folder / part, folder / "images" / part] if part else []
        pictures = folder_of_pictures([*places, *(folder / each for each in PICTURE_FOLDERS)], names)
        reading.paths.update({name: pictures / name for name in names})


def read_splits(file: Path) -> dict[str, str]:
    """Name of a picture → split, from Karpathy's JSON or from ``{"train": [names], "dev": […], "test": […]}``.

    Raises:
        BadInputError: it is neither, or puts a picture into two splits.
    """
    data = read_json(file, KIND)
    pairs: list[tuple[str, str]] = []
    try:
        if isinstance(data, dict) and "images" not in data:
            for split, names in data.items():
                if not isinstance(names, list):
                    raise TypeError(f"'{split}' is not a list of names")
                pairs += [(str(name), _split(split)) for name in names]
        else:
            pairs = [(str(each["filename"]), _split(each["split"])) for each in _images(data, file)]
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(file, error) from error
    splits: dict[str, str] = {}
    for name, split in pairs:
        if splits.setdefault(name, split) != split:
            raise BadInputError(
                f"'{shown(file)}' puts '{shown(name)}' into two splits, {splits[name]} and {split}. Keep one."
            )
    if not splits:
        raise BadInputError(f"'{shown(file)}' names no pictures, so it is no {KIND}. Check the path.")
    return splits


def _images(data: Any, file: Path) -> list[Any]:
    images = data.get("images") if isinstance(data, dict) else None
    if not isinstance(images, list):
        raise BadInputError(f"'{shown(file)}' is no {KIND}: it has no list 'images'. Check the path.")
    return images


def _split(name: object) -> str:
    split = SPLIT_NAMES.get(str(name).lower())
    if split is None:
        raise ValueError(f"there is no split '{name}' (train, restval, dev, val, test)")
    return split


def _broken(file: Path, error: Exception) -> BadInputError:
    why = f"a picture has no '{error.args[0]}'" if isinstance(error, KeyError) else str(error)
    return BadInputError(f"'{shown(file)}' is no {KIND}: {shown(why)}. Check the path.")
