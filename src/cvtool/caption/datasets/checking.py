"""A data set looked through before anything is made of it."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor

from cvtool.caption.datasets.data import CaptionData, CaptionedPicture, is_text
from cvtool.caption.vocabulary import tokenize
from cvtool.errors import BadInputError
from cvtool.images import read_picture
from cvtool.problems import Problem
from cvtool.progress import Progress, Step, silent

LONGEST_CAPTION = 5000
"""Characters; what is longer is no caption."""

STAGE = "checking"
_THREADS = 4


def problems(
    data: CaptionData, *, decode: bool = False, known: Container[str] = (), progress: Progress = silent
) -> list[Problem]:
    """All that is wrong with a data set: first what its files say, then picture by picture.

    Found are pictures that are missing or come twice, captions that are absent, without a word, too long or not UTF-8,
    and lines and splits that lead nowhere.

    Args:
        data: as read.
        decode: also open every picture, to find broken ones.
        known: names of pictures that need not be opened.
        progress: hears how many pictures are done, in the stage ``"checking"``.
    """

    def look(picture: CaptionedPicture) -> Problem | None:
        return None if picture.name in known else _broken(picture)

    found = list(data.found)
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        checked = pool.map(look, data.pictures) if decode else (None for _ in data.pictures)
        for done, (picture, broken) in enumerate(zip(data.pictures, checked, strict=True), start=1):
            found += _of_captions(picture)
            missing = picture.path is not None and not os.path.isfile(picture.path)
            if missing:
                found.append(Problem(picture.name, f"is missing: there is no {picture.path}"))
            elif broken is not None:
                found.append(broken)
            progress(Step(STAGE, done, len(data.pictures)))
    return list(dict.fromkeys(found))


def _of_captions(picture: CaptionedPicture) -> Iterator[Problem]:
    if not is_text(picture.name):
        yield Problem(picture.name, "has a name that is not UTF-8")
    if not picture.captions:
        yield Problem(picture.name, "has no captions")
    for number, caption in enumerate(picture.captions, start=1):
        if len(caption) > LONGEST_CAPTION:
            yield Problem(picture.name, f"has a caption of {len(caption)} characters (number {number})")
        elif not is_text(caption) or "\ufffd" in caption:
            yield Problem(picture.name, f"has a caption in a wrong encoding (number {number})")
        elif not tokenize(caption):
            yield Problem(picture.name, f"has an empty caption (number {number})")


def _broken(picture: CaptionedPicture) -> Problem | None:
    if picture.path is None or not os.path.isfile(picture.path):
        return None
    try:
        read_picture(picture.path)
    except BadInputError as error:
        return Problem(picture.name, f"cannot be used: {error}")
    return None
