"""Generators in safetensors files, with all that is needed to use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from cvtool.errors import BadInputError, CvtoolError
from cvtool.files import read_input
from cvtool.gan.networks import Generator, Shape, build
from cvtool.gan.options import Arch, NetworkOptions
from cvtool.tensor_files import decode_tensors, write_tensors

_KEY = "gan"
BUNDLED = "generator.safetensors"
_LARGEST_LATENT, _LARGEST_WIDTH, _MOST_CLASSES = 4096, 1024, 100_000


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A generator and what it was made with.

    Attributes:
        generator: on the CPU, ready to use.
        options: the shape of its network.
        classes: names, in the order of its labels; () for one that knows none.
        data: name of the data set it has learned from.
        fingerprint: of that data set.
        facts: metrics and the like, for people.
    """

    generator: Generator
    options: NetworkOptions
    classes: tuple[str, ...] = ()
    data: str = ""
    fingerprint: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_checkpoint(path: Path, checkpoint: Checkpoint, note: str = "", dtype: torch.dtype = torch.float32) -> None:
    """Write a generator; `note` is the provenance that `cvtool info` shows, `dtype` the type weights are kept in."""
    generator = checkpoint.generator
    record = {
        "options": asdict(checkpoint.options),
        "shape": asdict(generator.shape),
        "classes": checkpoint.classes,
        "data": checkpoint.data,
        "fingerprint": checkpoint.fingerprint,
        "facts": dict(checkpoint.facts),
    }
    tensors = {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in generator.state_dict().items()
    }
    write_tensors(path, tensors, _KEY, record, note)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what `write_checkpoint` wrote; nothing in the file is run.

    Raises:
        BadInputError: missing, truncated, not a generator, or its parts do not fit each other.
    """
    data = read_input(path)
    try:
        record, tensors = decode_tensors(data, _KEY)
        options = NetworkOptions(**{**record["options"], "arch": Arch(record["options"]["arch"])})
        shape = Shape(**record["shape"])
        classes = tuple(str(name) for name in record["classes"])
        _check_sizes(options, shape, classes)
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            expected = {name: tensor.shape for name, tensor in _generator(options, shape).state_dict().items()}
        if {name: tensor.shape for name, tensor in tensors.items()} != expected:
            raise BadInputError("its weights are not those of the generator it describes. Get it again.")
        with torch.random.fork_rng(devices=[]):  # the weights it starts with are drawn, and replaced at once
            generator = _generator(options, shape)
        floats = {name: each.float() if each.is_floating_point() else each for name, each in tensors.items()}
        generator.load_state_dict(floats)
        generator.eval().requires_grad_(False)
        facts = dict(record["facts"])
        return Checkpoint(generator, options, classes, str(record["data"]), str(record["fingerprint"]), facts)
    except CvtoolError as error:
        raise BadInputError(f"'{path}': {error}") from error
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise BadInputError(
            f"'{path}' is not a checkpoint of a generator, or is broken. 'cvtool gan train' makes one."
        ) from error


def _generator(options: NetworkOptions, shape: Shape) -> Generator:
    return build(options, shape)[0]


def _check_sizes(options: NetworkOptions, shape: Shape, classes: tuple[str, ...]) -> None:
    """What the header says could fill the memory before the weights are looked at."""
    whole = all(isinstance(n, int) for n in (options.latent, options.width, shape.size, shape.channels, shape.classes))
    fits = (
        whole
        and 1 <= options.latent <= _LARGEST_LATENT
        and 1 <= options.width <= _LARGEST_WIDTH
        and shape.channels in (1, 3)
        and len(classes) == shape.classes <= _MOST_CLASSES
    )
    if not fits:
        raise BadInputError("it describes a generator that cannot be. Get it again.")
