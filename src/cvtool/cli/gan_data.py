"""Pictures for ``cvtool gan`` on the command line: the options around them, and what happens when they are broken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cvtool.cli import runs
from cvtool.cli.console import Console, list_problems
from cvtool.gan.picture_options import LARGEST, SIZES, SMALLEST, USUAL_SIZE, Color, Conditional, Fit, PictureOptions

if TYPE_CHECKING:
    from cvtool.gan.datasets import Pictures

PICTURES = "The pictures"
"""Where ``--help`` lists the options around them."""
FEW = 1000
"""Pictures below which a generator tends to learn them by heart."""

DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="SPEC",
        help="fashion-mnist, idx:DIR, folder:DIR, zip:FILE, tar:FILE, h5:FILE#DATASET, or a path whose contents tell.",
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        "--size",
        rich_help_panel=PICTURES,
        metavar="PX",
        min=SMALLEST,
        max=LARGEST,
        show_default=f"the data's if square and {', '.join(map(str, SIZES))}; else one of these, {USUAL_SIZE} at most",
        help="Side of the pictures, in pixels.",
    ),
]
ColorOption = Annotated[
    Color, typer.Option("--color", rich_help_panel=PICTURES, help="Channels; auto: grey if every picture is grey.")
]
FitOption = Annotated[
    Fit,
    typer.Option(
        "--fit",
        rich_help_panel=PICTURES,
        help="Pictures that are not square: cut the middle out, or pad with the border's colour.",
    ),
]
ConditionalOption = Annotated[
    Conditional,
    typer.Option(
        "--conditional", rich_help_panel=PICTURES, help="Learn classes, too; auto: if the data has at least two."
    ),
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad", rich_help_panel=PICTURES, show_default="off", help="Go on without pictures that cannot be used."
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        rich_help_panel=PICTURES,
        metavar="N",
        min=2,
        show_default="all",
        help="Pictures taken at most, spread evenly over the data.",
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        rich_help_panel=PICTURES,
        metavar="DIR",
        file_okay=False,
        show_default="~/.cache/cvtool/gan",
        help="Where decoded pictures are kept for the next run.",
    ),
]


def checked(
    spec: str,
    options: PictureOptions,
    console: Console,
    *,
    cache: Path | None = None,
    split: str = "train",
) -> Pictures:
    """The pictures of a data set without problems.

    Args:
        spec: as ``--data`` takes it.
        options: what is made of the pictures.
        console: hears what is wrong, and that there are few.
        cache: folder of decoded pictures.
        split: ``"train"`` or ``"test"``.

    Raises:
        BadInputError: it cannot be read, or has problems that are not to be skipped; the first were listed.
    """
    from cvtool.gan.datasets import BadPicturesError, read_pictures

    try:
        with console.progress() as progress:
            pictures = read_pictures(spec, options, cache=cache, split=split, progress=progress)
    except BadPicturesError as error:
        list_problems(error.problems, console.error)
        raise
    if pictures.problems:
        list_problems(pictures.problems, console.warn)
        console.warn(f"{len(pictures.problems)} pictures of '{pictures.name}' are left out.")
    if split == "train" and len(pictures) < FEW:
        console.warn(f"only {len(pictures)} pictures: a generator needs {FEW} and more to invent new ones.")
    return pictures


def absolute(spec: str) -> str:
    """A SPEC that means the same in any directory."""
    from cvtool.gan.datasets.fashion import NAME
    from cvtool.gan.datasets.specs import KINDS

    return spec if spec == NAME else runs.absolute(spec, KINDS)
