"""Files of features that several processes made, put together in one. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvtool.caption.feature_store import existing_sizes, kinds_of, writing
from cvtool.caption.features import FLIPPED, POOLED, FeatureFile, Origin, read_features


def merge_features(
    names: Sequence[str],
    parts: Sequence[Path],
    path: Path,
    origin: Origin,
    *,
    spatial: bool,
    flipped: bool,
    together: int,
) -> None:
    """Add to a file the rows that the parts have of some pictures: the file that one process would have written.

    Args:
        names: of the pictures, in the order of their rows; those that no part has, or that are there, are left out.
        parts: files of features, of the same origin.
        path: of the file, made if there is none.
        origin: what made the features.
        spatial, flipped: kinds of features, as the parts have them.
        together: rows that are copied at a time.

    Raises:
        BadInputError: a part, or what is there, is broken or of another network.
        CvtoolError: the disk is full.
    """
    kinds = kinds_of(spatial=spatial, flipped=flipped)
    there = existing_sizes(path, origin)
    files = [(read_features(part, fingerprint=origin.fingerprint), existing_sizes(part, origin)) for part in parts]
    where = {name: index for index, (file, _) in enumerate(files) for name in file.names}
    missing = [name for name in names if name not in there]
    with writing(path, origin, missing, kinds) as writer:
        known = [name for name in missing if name in where]
        for start in range(0, len(known), together):
            run: list[str] = []
            for name in known[start : start + together]:
                if run and where[run[0]] != where[name]:
                    writer.add(run, *_rows(run, *files[where[run[0]]], kinds))
                    run = []
                run.append(name)
            writer.add(run, *_rows(run, *files[where[run[0]]], kinds))


def _rows(
    names: Sequence[str], file: FeatureFile, sizes: Mapping[str, int], kinds: Sequence[str]
) -> tuple[list[int], dict[str, NDArray[np.float16]]]:
    numbers = file.numbers(names)
    values = {}
    for kind in kinds:
        found = file.rows(kind.removesuffix(FLIPPED)).read(numbers, kind.endswith(FLIPPED))
        values[kind] = found[:, 0] if kind.startswith(POOLED) else found
    return [sizes[name] for name in names], values
