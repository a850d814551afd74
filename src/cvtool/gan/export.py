"""Generators as files that other programs run: TorchScript and ONNX, checked against the generator they came from."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cvtool.codecs import notes
from cvtool.errors import CvtoolError, UsageError
from cvtool.files import shown
from cvtool.gan.checkpoint import Checkpoint
from cvtool.gan.networks import Generator
from cvtool.gan.sampling import latents

TOLERANCE = 1e-4
"""Of a picture in [−1, 1]: far below one of 256 levels."""
_TRACED, _CHECKED = 2, (1, 5)  # pictures at a time; a file that knows one number of pictures only must not pass


class Kind(str, Enum):
    """What is written."""

    torchscript = "torchscript"
    onnx = "onnx"


SUFFIXES = {".pt": Kind.torchscript, ".onnx": Kind.onnx}


@dataclass(frozen=True)
class Exported:
    """A file's content, and how well it does.

    Attributes:
        data: to be written as it is.
        kind: its format.
        inputs: names of what it takes: noise (N, latent) float32, and of a generator with classes labels (N,) int64.
        difference: the largest of any number in its pictures from the generator's own.
        checked_with: the program that ran it.
    """

    data: bytes
    kind: Kind
    inputs: tuple[str, ...]
    difference: float
    checked_with: str


def kind_of(path: Path) -> Kind:
    """What the suffix of `path` asks for.

    Raises:
        UsageError: neither ``.pt`` nor ``.onnx``, or a package is missing that the format needs.
    """
    kind = SUFFIXES.get(path.suffix.casefold())
    if kind is None:
        raise UsageError(f"'{shown(path)}' must end in {' (TorchScript) or '.join(SUFFIXES)} to say what is written.")
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 8):
        missing.append("'torch>=2.8'")  # before, its exporter failed on batch norms
    if kind is Kind.onnx and missing:
        raise UsageError(f"ONNX needs packages that are not here: pip install {' '.join(missing)}")
    return kind


def export(checkpoint: Checkpoint, kind: Kind, note: str = "") -> Exported:
    """A generator → a file that makes pictures (N, C, S, S) float32 in [−1, 1] from any number of rows of noise.

    Args:
        checkpoint: the generator, on the CPU.
        kind: of file.
        note: the provenance, kept inside under the key ``cvtool``; the names of the classes are under ``classes``.

    Raises:
        CvtoolError: the file makes other pictures than the generator.
    """
    network = _Conditional(checkpoint.generator) if checkpoint.classes else _Plain(checkpoint.generator)
    network = network.eval().requires_grad_(False)
    facts = {"classes": json.dumps(checkpoint.classes), notes.KEY: note}
    with _quiet():
        make, run = (_torchscript, _run_torchscript) if kind is Kind.torchscript else (_onnx, _run_onnx)
        names = ("z", "label")[: 1 + bool(checkpoint.classes)]
        data = make(network, _inputs(checkpoint.generator, _TRACED), names, facts)
        ask, program = run(data, names)
        difference = max(_difference(network, ask, _inputs(checkpoint.generator, count)) for count in _CHECKED)
    if not difference <= TOLERANCE:
        raise CvtoolError(
            f"The {kind.value} file makes pictures that differ by {difference:.2g} from the generator's, so it is not "
            "written. Please report this with the versions of torch and onnx."
        )
    return Exported(data, kind, names, difference, program)


class _Plain(nn.Module):
    """Noise → pictures."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor) -> Tensor:
        """(N, latent) → (N, C, S, S)."""
        pictures: Tensor = self.generator(z)
        return pictures


class _Conditional(nn.Module):
    """Noise and labels → pictures; weights of classes are looked up in a table, which every format can express."""

    table: Tensor

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator
        self.register_buffer("table", torch.eye(generator.shape.classes))

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """(N, latent), (N,) int64 → (N, C, S, S)."""
        pictures: Tensor = self.generator(z, self.table[label])
        return pictures


Ask = Callable[[tuple[Tensor, ...]], Tensor]


def _inputs(generator: Generator, count: int) -> tuple[Tensor, ...]:
    z = latents(generator, range(count))
    classes = generator.shape.classes
    return (z, torch.arange(count) % classes) if classes else (z,)


def _difference(network: nn.Module, ask: Ask, inputs: tuple[Tensor, ...]) -> float:
    with torch.no_grad():
        return float((network(*inputs) - ask(inputs)).abs().max())


def _torchscript(
    network: nn.Module, inputs: tuple[Tensor, ...], names: tuple[str, ...], facts: dict[str, str]
) -> bytes:
    buffer = io.BytesIO()
    traced = torch.jit.freeze(torch.jit.trace(network, inputs, check_trace=False))  # type: ignore[no-untyped-call]
    torch.jit.save(traced, buffer, _extra_files=facts)
    return buffer.getvalue()


def _run_torchscript(data: bytes, names: tuple[str, ...]) -> tuple[Ask, str]:
    module = torch.jit.load(io.BytesIO(data))  # type: ignore[no-untyped-call]
    return lambda inputs: module(*inputs), "torch"


def _onnx(network: nn.Module, inputs: tuple[Tensor, ...], names: tuple[str, ...], facts: dict[str, str]) -> bytes:
    rows = torch.export.Dim("pictures", min=1)
    program: Any = torch.onnx.export(
        network,
        inputs,
        dynamo=True,
        verbose=False,
        input_names=list(names),
        output_names=["pictures"],
        dynamic_shapes=tuple({0: rows} for _ in names),
    )
    model = program.model_proto
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value)
    data: bytes = model.SerializeToString()
    return data


def _run_onnx(data: bytes, names: tuple[str, ...]) -> tuple[Ask, str]:
    """By onnxruntime, or by ONNX's own slow reference where that is not installed."""
    runner: Any
    if find_spec("onnxruntime") is not None:
        session = import_module("onnxruntime").InferenceSession(data, providers=["CPUExecutionProvider"])
        runner, program = session, "onnxruntime"
    else:
        model = import_module("onnx").load_from_string(data)
        runner, program = import_module("onnx.reference").ReferenceEvaluator(model), "onnx.reference"

    def ask(inputs: tuple[Tensor, ...]) -> Tensor:
        given = {name: each.numpy() for name, each in zip(names, inputs, strict=True)}
        return torch.from_numpy(runner.run(None, given)[0])

    return ask, program


@contextmanager
def _quiet() -> Iterator[None]:
    """torch warns at every use that TorchScript gets no more features; for handing a network on it needs none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
