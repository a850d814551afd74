"""Data sets on the command line: the options around them, and what happens when they are broken."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cvtool.cli.console import Console, list_problems
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.cli.outputs import make_folder
from cvtool.errors import BadInputError, Interrupted

if TYPE_CHECKING:
    from cvtool.caption.datasets import CaptionData, CaptionedPicture, Problem
    from cvtool.caption.extractor import Extractor
    from cvtool.caption.features import FeatureFile

DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="SPEC",
        help="flickr8k:DIR, coco:DIR, cs231n:DIR, jsonl:FILE, folder:DIR, karpathy:FILE, or a path: its contents tell.",
    ),
]
SplitFile = Annotated[
    Path | None,
    typer.Option(
        "--split-file", metavar="FILE", show_default="the data set's own", help="Karpathy's JSON with other splits."
    ),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", show_default="off", help="Go on without pictures that cannot be used.")
]


Finder = Callable[["CaptionData"], "list[Problem]"]


def checked(
    spec: str,
    split_file: Path | None,
    console: Console,
    *,
    skip_bad: bool,
    decode: bool,
    known: Container[str] = (),
    find: Callable[[CaptionData, Finder], list[Problem]] = lambda data, find: find(data),
) -> CaptionData:
    """A data set without problems.

    Args:
        spec: as ``--data`` takes it.
        split_file: other splits.
        console: hears what is wrong.
        skip_bad: leave out what is wrong instead of giving up.
        decode: open every picture; slow for large sets.
        known: names of pictures that need not be opened, as their features are there.
        find: given a data set and what finds its problems, gives all: several processes may share that work.

    Raises:
        BadInputError: it cannot be read, or has problems that are not to be skipped.
    """
    from cvtool.caption.datasets import problems, read_captions, without

    data = read_captions(spec, split_file=split_file)
    with console.progress() as progress:
        found = find(data, lambda part: problems(part, decode=decode, known=known, progress=progress))
    if not found:
        return data
    list_problems(found, console.warn if skip_bad else console.error)
    if not skip_bad:
        raise BadInputError(f"'{spec}' has {len(found)} problems. Mend them, or go on without with --skip-bad.")
    rest = without(data, found)
    gone = len(data.pictures) - len(rest.pictures)
    console.warn(f"{gone} of {len(data.pictures)} pictures are left out.")
    return rest


def known_in(path: Path | None) -> Container[str]:
    """Names of the pictures whose features are in a file; of none if there is no such file.

    Raises:
        BadInputError: the file is broken.
    """
    from cvtool.caption.features import read_features

    return read_features(path) if path is not None and path.exists() else ()


def complete_features(
    pictures: Sequence[CaptionedPicture],
    path: Path,
    console: Console,
    extractor: Extractor,
    *,
    spatial: bool,
    flipped: bool,
    components: int = 0,
    skip_bad: bool = False,
    skip: Callable[[Problem], None] | None = None,
    again: str = "the same command goes on",
    announced: bool = False,
) -> FeatureFile:
    """The file of features with all these pictures in it; those it lacks are computed and added.

    A file that exists keeps the kinds of features it has, and they decide what is added. `skip` hears of pictures that
    are left out, rather than the user. `announced`: say first how many pictures are looked at, which takes minutes.

    Raises:
        BadInputError: the file is broken or of another network, or a picture cannot be read.
        Interrupted: by Ctrl-C; what was computed is kept.
    """
    from cvtool.caption.extractor import compute_features
    from cvtool.caption.features import read_features

    known: Container[str] = ()
    if path.exists():
        known = present = read_features(path, fingerprint=extractor.origin.fingerprint)
        spatial, flipped = present.has_spatial, present.can_flip
    else:
        make_folder(path.parent)
    missing = sum(picture.name not in known for picture in pictures)
    if announced and missing:
        console.say(f"looking at {missing} pictures once; what is seen is kept in '{path}'.")
    with stop_on_interrupt(lambda: console.say("stopping after this batch …")) as stop:
        stopped = False

        def asked() -> bool:
            nonlocal stopped
            stopped = stopped or stop()
            return stopped

        with console.progress() as progress:
            file = compute_features(
                pictures,
                extractor,
                path,
                spatial=spatial,
                flipped=flipped,
                components=components,
                skip=(skip or (lambda problem: console.warn(str(problem)))) if skip_bad else None,
                progress=progress,
                stop=asked,
            )
    if stopped:
        raise Interrupted(f"Stopped; '{path}' holds {len(file.names)} pictures; {again}.")
    return file
