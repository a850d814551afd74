"""``cs231n:DIR``: the assignment's ``coco_captioning``: numbered captions, their vocabulary, features of VGG-16."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvtool.caption.datasets.data import Reading
from cvtool.caption.datasets.reading import parse_json
from cvtool.caption.vocabulary import Vocabulary
from cvtool.errors import BadInputError, UsageError
from cvtool.files import read_input, read_lines, shown
from cvtool.hdf5 import dataset, opened, whole

CAPTIONS_FILE = "coco2014_captions.h5"
VOCABULARY_FILE = "coco2014_vocab.json"
FEATURES_FILES = ("{part}2014_vgg16_fc7_pca.h5", "{part}2014_vgg16_fc7.h5")
"""The assignment's own choice first: 512 principal components rather than 4096 features."""

URLS_FILE = "{part}2014_urls.txt"
PARTS = {"train": "train", "dev": "val"}
"""Our split → the assignment's word for it."""


@dataclass(frozen=True, eq=False)
class Cs231nFeatures:
    """What the assignment prepared, unchanged.

    Attributes:
        vocabulary: its words, numbered as there.
        captions: split → (N, 17) int32 words' numbers, <START> … <END>, <NULL> behind.
        pictures: split → (N,) int64, the row of `matrix` that each caption is of.
        files: split → the HDF5 file with the features.
        urls: split → where each row's picture was in 2015; () when that file is absent.
        rows: split → number of pictures.
        channels: features of a picture, 512 or 4096.
    """

    vocabulary: Vocabulary
    captions: Mapping[str, NDArray[np.int32]]
    pictures: Mapping[str, NDArray[np.int64]]
    files: Mapping[str, Path]
    urls: Mapping[str, tuple[str, ...]]
    rows: Mapping[str, int]
    channels: int

    def matrix(self, split: str) -> NDArray[np.float32]:
        """All features of a split, (pictures, channels) float32, read anew from the file.

        Raises:
            UsageError: the set has no such split.
            BadInputError: the file changed or broke since.
        """
        if split not in self.files:
            raise UsageError(
                f"The assignment's data has no split '{shown(split)}'. Use one of {', '.join(self.files)}."
            )
        with opened(self.files[split]) as file:
            values: NDArray[np.float32] = np.asarray(whole(dataset(file, "features", 2, "f")), dtype=np.float32)
        return values

    @staticmethod
    def name(split: str, row: int) -> str:
        """What the picture in that row is called, e.g. ``"train/000017"``."""
        return f"{PARTS[split]}/{row:06d}"


def is_cs231n(folder: Path) -> bool:
    """Whether a folder holds these files."""
    return (folder / CAPTIONS_FILE).is_file() and (folder / VOCABULARY_FILE).is_file()


def read_cs231n(folder: Path) -> Reading:
    """The assignment's captions, decoded to words; pictures have names like ``train/000017`` and no files.

    Raises:
        BadInputError: a file is missing, broken, or they do not fit together.
    """
    vocabulary = _vocabulary(folder / VOCABULARY_FILE)
    features: dict[str, Path] = {}
    captions: dict[str, NDArray[np.int32]] = {}
    pictures: dict[str, NDArray[np.int64]] = {}
    rows: dict[str, int] = {}
    widths = set()
    with opened(folder / CAPTIONS_FILE) as file:
        for split, part in PARTS.items():
            captions[split] = np.asarray(whole(dataset(file, f"{part}_captions", 2, "iu")))
            pictures[split] = np.asarray(whole(dataset(file, f"{part}_image_idxs", 1, "iu")), dtype=np.int64)
    for split, part in PARTS.items():
        features[split] = _features_file(folder, part)
        with opened(features[split]) as file:
            rows[split], width = dataset(file, "features", 2, "f").shape
            widths.add(width)
        _check(folder, part, captions[split], pictures[split], rows[split], vocabulary)
    if len(widths) > 1:
        raise BadInputError(f"'{shown(folder)}': the features for training and validation differ in length: {widths}.")
    urls = {split: _urls(folder / URLS_FILE.format(part=part), rows[split]) for split, part in PARTS.items()}
    reading = Reading.empty()
    reading.features = Cs231nFeatures(vocabulary, captions, pictures, features, urls, rows, widths.pop())
    for split in PARTS:
        _decode(split, reading, reading.features)
    return reading


def _decode(split: str, reading: Reading, features: Cs231nFeatures) -> None:
    names = [features.name(split, row) for row in range(features.rows[split])]
    used = np.unique(features.pictures[split])
    for row in used.tolist():  # in the order of the features, and only pictures that have captions
        reading.captions[names[row]] = []
        reading.paths[names[row]] = None
        reading.splits[names[row]] = split
    for row, words in zip(features.pictures[split].tolist(), features.captions[split].tolist(), strict=True):
        reading.captions[names[row]].append(features.vocabulary.decode(words))


def _vocabulary(file: Path) -> Vocabulary:
    data = parse_json(read_input(file), str(file), "vocabulary of the assignment", unique_keys=True)
    words: Any = data.get("idx_to_word") if isinstance(data, dict) else None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadInputError(f"'{shown(file)}' has no list of words 'idx_to_word'. Fetch it again.")
    numbers = data.get("word_to_idx")
    if numbers is not None and numbers != {word: number for number, word in enumerate(words)}:
        raise BadInputError(f"'{shown(file)}': 'word_to_idx' and 'idx_to_word' do not fit together. Fetch it again.")
    return Vocabulary(tuple(words))


def _features_file(folder: Path, part: str) -> Path:
    names = [name.format(part=part) for name in FEATURES_FILES]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise BadInputError(f"'{shown(folder)}' has neither {' nor '.join(names)}. Fetch the assignment's data whole.")


def _check(
    folder: Path,
    part: str,
    captions: NDArray[np.int32],
    pictures: NDArray[np.int64],
    rows: int,
    vocabulary: Vocabulary,
) -> None:
    def fail(what: str) -> None:
        raise BadInputError(f"'{shown(folder / CAPTIONS_FILE)}': {what}. Fetch the assignment's data again.")

    if len(captions) != len(pictures):
        fail(f"{len(captions)} captions but {len(pictures)} numbers of pictures for '{part}'")
    if len(captions) and not 0 <= captions.min() <= captions.max() < len(vocabulary):
        fail(f"'{part}_captions' has a word that the vocabulary of {len(vocabulary)} lacks")
    if len(pictures) and not 0 <= pictures.min() <= pictures.max() < rows:
        fail(f"'{part}_image_idxs' names a picture that the {rows} features lack")


def _urls(file: Path, rows: int) -> tuple[str, ...]:
    if not file.is_file():
        return ()
    urls = tuple((line or "").strip() for _, line in read_lines(file))
    if len(urls) != rows:
        raise BadInputError(f"'{shown(file)}' has {len(urls)} lines for {rows} pictures. Fetch it again.")
    return urls
