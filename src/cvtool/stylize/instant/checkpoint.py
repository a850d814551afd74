"""Painters in safetensors files, with all that is needed to use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from cvtool import bundled
from cvtool.errors import BadInputError, CvtoolError
from cvtool.files import read_input
from cvtool.models.cards import CARDS
from cvtool.stylize.instant.network import Painter
from cvtool.stylize.instant.options import BUNDLED, EMBEDDINGS, WIDTHS, PainterOptions
from cvtool.stylize.instant.statistics import ENCODER
from cvtool.tensor_files import decode_tensors, write_tensors

_KEY = "painter"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A painter and what it was made with.

    Attributes:
        painter: on the CPU, ready to use.
        contents, styles: fingerprints of what it has learned from.
        encoder: SHA-256 of the weights of the network that it reads with.
        facts: metrics and the like, for people.
    """

    painter: Painter
    contents: str = ""
    styles: str = ""
    encoder: str = CARDS[ENCODER].sha256
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_checkpoint(path: Path, checkpoint: Checkpoint, note: str = "", dtype: torch.dtype = torch.float32) -> None:
    """Write a painter; `note` is the provenance that `cvtool info` shows, `dtype` the type weights are kept in."""
    record = {
        "options": asdict(checkpoint.painter.options),
        "contents": checkpoint.contents,
        "styles": checkpoint.styles,
        "encoder": checkpoint.encoder,
        "facts": dict(checkpoint.facts),
    }
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in checkpoint.painter.state_dict().items()
    }
    write_tensors(path, tensors, _KEY, record, note)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what `write_checkpoint` wrote; nothing in the file is run.

    Raises:
        BadInputError: missing, truncated, not a painter, for another encoder, or its parts do not fit each other.
    """
    data = read_input(path)
    try:
        record, tensors = decode_tensors(data, _KEY)
        options = PainterOptions(**record["options"])
        _check(options, str(record["encoder"]))
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            expected = {name: tensor.shape for name, tensor in Painter(options).state_dict().items()}
        if {name: tensor.shape for name, tensor in tensors.items()} != expected:
            raise BadInputError("its weights are not those of the painter it describes. Get it again.")
        floats = {name: each.float() for name, each in tensors.items()}
        if not all(bool(each.isfinite().all()) for each in floats.values()):
            raise BadInputError("some of its weights are not finite numbers. Get it again.")
        with torch.random.fork_rng(devices=[]):  # the weights it starts with are drawn, and replaced at once
            painter = Painter(options)
        painter.load_state_dict(floats)
        painter.eval().requires_grad_(False)
        return Checkpoint(
            painter, str(record["contents"]), str(record["styles"]), str(record["encoder"]), dict(record["facts"])
        )
    except CvtoolError as error:
        raise BadInputError(f"'{path}': {error}") from error
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise BadInputError(
            f"'{path}' is not a checkpoint of a painter, or is broken. 'cvtool stylize train-instant' makes one."
        ) from error


def bundled_painter() -> Path:
    """Where the painter that comes with the install lies.

    Raises:
        WeightsUnavailableError: this install has none.
        BadInputError: it is not the one that was published.
    """
    return bundled.checkpoint(BUNDLED, "cvtool stylize train-instant")


def _check(options: PainterOptions, encoder: str) -> None:
    """What the header says could fill the memory before the weights are looked at."""
    if options.width not in WIDTHS or options.embedding not in EMBEDDINGS:
        raise BadInputError("it describes a painter that cannot be. Get it again.")
    if encoder != CARDS[ENCODER].sha256:
        raise BadInputError(f"it was trained on other weights of {ENCODER} than this install has. Train it again.")
