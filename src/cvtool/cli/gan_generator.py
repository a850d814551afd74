"""Generators on the command line: which one, what it shall make, and how it is named in results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cvtool import __version__
from cvtool.cli.options import HIGHEST_SEED
from cvtool.errors import UsageError
from cvtool.gan.labels import in_turn, label_numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from cvtool.gan.checkpoint import Checkpoint

MOST_SEEDS = 1_000_000
GRID_WIDTH, WIDEST_CELL, GAP = 900, 256, 4  # pixels, of pictures side by side
MOST_BYTES = 1 << 30
"""Of enlarged pictures, in 8 bits, that are in memory together."""

CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        metavar="FILE",
        show_default="the bundled one",
        help="Generator, as 'gan train' writes it.",
    ),
]
SeedsOption = Annotated[
    str | None,
    typer.Option(
        "--seeds", metavar="LIST", show_default="from --seed on", help="One for each picture, as 0-63 or 3,7,12."
    ),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="L",
        show_default="all classes in turn",
        help="Class of the pictures, by name or number; several, repeated or with commas, in turn.",
    ),
]
TruncationOption = Annotated[
    float | None,
    typer.Option(
        "--truncation",
        metavar="T",
        show_default="off",
        help="Keep noise within ± T, e.g. 1: likelier pictures that differ less.",
    ),
]
LatentOption = Annotated[
    Path | None,
    typer.Option(
        "--latent",
        metavar="FILE.npy",
        show_default="none",
        help="Noise in a file, as 'gan invert --latent' writes it, instead of seeds.",
    ),
]


@dataclass(frozen=True, eq=False)
class Opened:
    """A generator from a file.

    Attributes:
        checkpoint: what was in it.
        path: the file.
        bundled: it came with the install.
        digest: SHA-256 of the file.
    """

    checkpoint: Checkpoint
    path: Path
    bundled: bool
    digest: str

    @property
    def name(self) -> str:
        """What results call it."""
        return "generator" if self.bundled else str(self.path)

    @property
    def stem(self) -> str:
        """What results are named after."""
        return self.path.stem

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes it knows."""
        return self.checkpoint.classes

    @property
    def inputs(self) -> tuple[dict[str, str], ...]:
        """For the provenance."""
        return ({"path": str(self.path.resolve()), "sha256": self.digest},)

    def numbers(self, labels: Sequence[str] | None, count: int) -> tuple[int, ...] | None:
        """Classes of `count` pictures, those asked for or all in turn; None of a generator without."""
        chosen = label_numbers(labels or (), self.classes) or tuple(range(len(self.classes)))
        return in_turn(chosen, count) if chosen else None


def open_generator(path: Path | None) -> Opened:
    """The generator in a file, or the bundled one.

    Raises:
        WeightsUnavailableError: there is no bundled one.
        BadInputError: the file is missing, broken, or not the published one.
    """
    from cvtool import bundled
    from cvtool.files import sha256_of
    from cvtool.gan.checkpoint import BUNDLED, read_checkpoint

    where = bundled.checkpoint(BUNDLED, "cvtool gan train") if path is None else path
    found = read_checkpoint(where)
    return Opened(found, where, path is None, sha256_of(where))


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds from ``0-63``, ``3,7,12`` or ``0-9,20``.

    Raises:
        UsageError: something else, or far too many.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        if not _is_seed(first) or (dash and not _is_seed(last)) or (dash and int(last) < int(first)):
            raise UsageError(f"--seeds '{text}' is not a list such as 0-63 or 3,7,12, of numbers up to {HIGHEST_SEED}.")
        if dash and int(last) - int(first) + len(found) >= MOST_SEEDS:
            raise UsageError(f"--seeds '{text}' are more than {MOST_SEEDS} pictures. Make them in several parts.")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def seeds_from(first: int, count: int) -> tuple[int, ...]:
    """`count` seeds from the first on.

    Raises:
        UsageError: they go beyond the highest.
    """
    if first + count - 1 > HIGHEST_SEED:
        raise UsageError(f"{count} seeds from {first} on go beyond {HIGHEST_SEED}. Give a lower --seed.")
    return tuple(range(first, first + count))


def read_latents(path: Path, opened: Opened) -> tuple[Tensor, Tensor | None, str]:
    """Noise (N, latent), weights of classes (N, classes) if there are any, and the file's SHA-256.

    Raises:
        BadInputError: not such a file, or of another generator.
    """
    from hashlib import sha256

    from cvtool.files import read_input
    from cvtool.gan.sampling import decode_latents

    data = read_input(path)
    z, weights = decode_latents(data, opened.checkpoint.generator, str(path))
    return z, weights, sha256(data).hexdigest()


def refuse_latent_with(**others: Any) -> None:
    """Noise from a file needs no seeds.

    Raises:
        UsageError: an option was given that would have no effect.
    """
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise UsageError(f"--latent gives the noise itself, so --{given[0]} has no effect. Leave one of them out.")


def note(opened: Opened, command: str, line: str, options: dict[str, Any], **more: Any) -> str:
    """Provenance of a result; `more` as of `Provenance`, its inputs besides the generator."""
    from cvtool.provenance import Provenance

    inputs = (*opened.inputs, *more.pop("inputs", ()))
    return Provenance(
        command=command, version=__version__, command_line=line, options=options, inputs=inputs, model=opened.name,
        environment=_environment(), **more,
    ).to_json()  # fmt: skip


@lru_cache(maxsize=1)
def _environment() -> dict[str, str]:
    """Looked up once: it takes longer than a small picture."""
    from cvtool.provenance import environment

    return environment()


def as_cell(pixels: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Picture (S, S, C) → (S·scale, S·scale, 3), every pixel a square."""
    import numpy as np

    colored = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    return colored.repeat(scale, axis=0).repeat(scale, axis=1)


def fitting_scale(size: int, across: int, wanted: int, most: int) -> int:
    """How often pixels are enlarged so that `across` pictures are about `wanted` px wide, none more than `most`."""
    return max(1, min(round(wanted / (across * size)), most // size))


def check_fits(count: int, side: int, what: str, advice: str) -> None:
    """Make sure, before any is made, that `count` pictures of `side` pixels a side may be in memory together.

    Args:
        count: how many.
        side: in pixels, enlarged.
        what: they are, e.g. "frames".
        advice: what to do next.

    Raises:
        UsageError: they are more than `MOST_BYTES`.
    """
    if count * side**2 * 3 > MOST_BYTES:
        raise UsageError(f"{count} {what} of {side} px are too many at once. {advice}")


def _is_seed(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= HIGHEST_SEED
