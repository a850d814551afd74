"""The options that several commands share, each with its help; defaults stay with the commands."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from cvtool.errors import UnknownNameError, UsageError
from cvtool.models.cards import CARDS

T = TypeVar("T")

INPUTS, NETWORK, RESULTS = "Many pictures", "Network and device", "Results and messages"
"""Where ``--help`` lists the options that several commands share; the others come first."""


class Format(str, Enum):
    """Picture formats that can be written."""

    png = "png"
    jpg = "jpg"
    webp = "webp"
    tiff = "tiff"


class Precision(str, Enum):
    """Number formats a network can run in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


def model_option(**more: Any) -> Any:
    """The option ``--model``; `more` goes to `typer.Option`."""
    return typer.Option(
        "--model",
        rich_help_panel=NETWORK,
        metavar="NAME",
        autocompletion=lambda: list(CARDS),
        help="Network to use; 'cvtool models' lists them. Any torchvision name and any timm:NAME work too.",
        **more,
    )


Model = Annotated[str, model_option()]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        rich_help_panel=NETWORK,
        metavar="FILE",
        show_default="the model's own",
        help="Weights of a torchvision or timm model, from a local .safetensors or .pth file.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        rich_help_panel=NETWORK,
        metavar="auto|cpu|cuda[:N]|mps",
        help="Where to compute; auto: cuda, then mps, then cpu.",
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision", rich_help_panel=NETWORK, help="Number format of the network; auto: what suits the device."
    ),
]
TrainingPrecision = Annotated[
    Precision,
    typer.Option(
        "--precision",
        rich_help_panel=NETWORK,
        metavar="auto|fp32|bf16",
        help="Number format of the networks; auto: what suits the device. No fp16: training overflows in it.",
    ),
]
HIGHEST_SEED = 2**32 - 1
"""NumPy and torch both take it."""
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        rich_help_panel=NETWORK,
        metavar="N",
        min=0,
        max=HIGHEST_SEED,
        help="Seed of everything random, a whole number.",
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        rich_help_panel=RESULTS,
        metavar="PATH",
        show_default="a name made from the input's, in the current folder",
        help="Where the result goes: a file, a folder for several results, or '-' for stdout.",
    ),
]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        rich_help_panel=RESULTS,
        show_default="by the suffix of --output, else png",
        help="Format of the picture.",
    ),
]
ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--report",
        rich_help_panel=RESULTS,
        metavar="FILE.html",
        show_default="none",
        help="Also write one page that needs no network: pictures, numbers, and the commands that repeat the results.",
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        rich_help_panel=RESULTS,
        show_default="off",
        help="Print one JSON object per result on stdout, one per line.",
    ),
]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", rich_help_panel=RESULTS, show_default="off", help="Say nothing but errors.")
]
Verbose = Annotated[
    bool,
    typer.Option("-v", "--verbose", rich_help_panel=RESULTS, show_default="off", help="Also say times and memory."),
]
Debug = Annotated[
    bool, typer.Option("--debug", rich_help_panel=RESULTS, show_default="off", help="Show the traceback of an error.")
]
Recursive = Annotated[
    bool,
    typer.Option(
        "--recursive",
        rich_help_panel=INPUTS,
        show_default="off",
        help="Take pictures from all folders below a folder, too.",
    ),
]
Images = Annotated[
    list[str] | None,
    typer.Argument(metavar="IMAGE", show_default="those of --files-from", help="Pictures, or folders or tars of them."),
]
FilesFrom = Annotated[
    str | None,
    typer.Option(
        "--files-from",
        rich_help_panel=INPUTS,
        metavar="FILE",
        show_default="none",
        help="Also take inputs from a list, one a line; '-' reads the list from stdin.",
    ),
]
Null = Annotated[
    bool,
    typer.Option(
        "-0",
        "--null",
        rich_help_panel=INPUTS,
        show_default="off",
        help="NUL bytes end the names in that list, as find -print0 writes them.",
    ),
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        rich_help_panel=INPUTS,
        show_default="off",
        help="Leave out pictures whose result is there already.",
    ),
]


def parse_list(text: str, convert: Callable[[str], T], option: str, expected: str) -> tuple[T, ...]:
    """The values of a comma-separated option, such as ``300,200``.

    Args:
        text: what was given; blanks around the commas do not matter, "" gives ().
        convert: turns one part into a value, or raises `ValueError`.
        option: its name, for the message.
        expected: what the parts should be, for the message.

    Raises:
        UsageError: a part is empty or cannot be converted.
    """
    if not text.strip():
        return ()
    try:
        return tuple(convert(_not_empty(part.strip())) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} '{text}' is not {expected}.") from None


def parse_names(words: Iterable[str], known: Sequence[str], kind: str) -> list[str]:
    """Names from ``a --method b,c``, each once.

    Raises:
        UnknownNameError: one is not among the `known`.
    """
    names = [name.strip() for word in words for name in word.split(",")]
    for name in names:
        if name not in known:
            raise UnknownNameError(kind, name, known, f"There are: {', '.join(known)}.")
    return list(dict.fromkeys(names))


def refuse_beside(mode: str, names: Iterable[str], given: Container[str]) -> None:
    """Refuse options that would have no effect in a mode, rather than ignore them.

    Args:
        mode: the parameter that chooses it.
        names: parameters that mean nothing there.
        given: names of all parameters that were given.

    Raises:
        UsageError: the mode is chosen; names the first of the others that was given, too.
    """
    other = next((name for name in names if mode in given and name in given), None)
    if other is not None:
        raise UsageError(f"{spelled(other)} does not go with {spelled(mode)}. Leave one of them out.")


def spelled(parameter: str) -> str:
    """A parameter as people write it."""
    return f"--{parameter.replace('_', '-')}"


_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_seconds(text: str, option: str) -> float:
    """Seconds from ``90``, ``60s``, ``1.5m`` or ``1h``.

    Raises:
        UsageError: it is not a duration, or not longer than 0.
    """
    number = text.strip().rstrip("smh")
    unit = text.strip()[len(number) :]
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        seconds = float("nan")
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{option} '{text}' is not a duration such as 60s, 2m or 1h.")
    return seconds


def finite(value: float, option: str) -> float:
    """The value, unless it is infinite or no number.

    Raises:
        UsageError: it is.
    """
    if not math.isfinite(value):
        raise UsageError(f"{option} {value} is not a finite number.")
    return value


def _not_empty(part: str) -> str:
    if not part:
        raise ValueError("nothing between two commas")
    return part
