"""Pictures from a generator: the same seed and class give the same picture, bit for bit, however many are made."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvtool.array_files import decode_numbers
from cvtool.errors import BadInputError, UsageError
from cvtool.gan.feeding import to_pixels
from cvtool.gan.networks import Generator
from cvtool.gan.use_options import LEAST_TRUNCATION
from cvtool.progress import Progress, Step, Stop, never, silent
from cvtool.tensors import autocast, seeded

CHUNK = 32
"""Pictures that always go through the network together, the last ones beside blanks.

Matrix products of other sizes are summed in another order, which would show in the last bits. Larger chunks are not
faster on a CPU.
"""
_GPU_CHUNK = 256


def latents(generator: Generator, seeds: Sequence[int], truncation: float | None = None) -> Tensor:
    """Noise (N, latent) on the CPU, each row from its own seed alone.

    Args:
        generator: tells how many numbers, and how they are spread.
        seeds: whole numbers in [0, 2⁶⁴).
        truncation: numbers beyond ± this are drawn again (Brock et al. 2019, arXiv:1809.11096): pictures become
            likelier and less different. Evenly spread noise is scaled, which comes to the same.

    Raises:
        UsageError: a truncation too near 0.
    """
    if truncation is not None and not truncation >= LEAST_TRUNCATION:
        raise UsageError(f"--truncation {truncation:g} leaves nothing to choose. Use {LEAST_TRUNCATION:g} or more.")
    rows = [_row(generator, seed, truncation) for seed in seeds]
    return torch.cat(rows) if rows else torch.empty(0, generator.latent)


def _row(generator: Generator, seed: int, truncation: float | None) -> Tensor:
    source = seeded(seed)
    row = generator.noise(1, source)
    if truncation is None:
        return row
    if generator.uniform:
        return row * min(truncation, 1.0)
    while bool((beyond := row.abs() > truncation).any()):
        row = torch.where(beyond, generator.noise(1, source), row)
    return row


class Sampler:
    """A generator set up to be asked many times.

    Attributes:
        generator: as given, moved to the device.
        device: where it computes.
    """

    def __init__(self, generator: Generator, device: torch.device | str = "cpu", *, precision: str = "fp32") -> None:
        """Move the generator.

        Args:
            generator: in evaluation mode.
            device: where to compute.
            precision: as `autocast` takes it; less than ``fp32`` shows in the last of 256 levels.
        """
        self.device = torch.device(device)
        self.generator: Generator = generator.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stubs lack this form for modules
        self.chunk = CHUNK if self.device.type == "cpu" else _GPU_CHUNK
        self._precision = precision

    def __call__(
        self, z: Tensor, labels: Tensor | None = None, *, progress: Progress = silent, stop: Stop = never
    ) -> NDArray[np.uint8]:
        """Noise (N, latent) and labels → pictures (N, S, S, C) uint8.

        Args:
            z: on any device.
            labels: numbers (N,) int64 or weights (N, classes); None for a generator without classes.
            progress: hears how many are done.
            stop: asked between chunks; what is finished so far is given back.
        """
        size, channels = self.generator.shape.size, self.generator.shape.channels
        found = list(self.parts(z, labels, progress=progress, stop=stop))
        return np.concatenate(found) if found else np.empty((0, size, size, channels), np.uint8)

    def parts(
        self, z: Tensor, labels: Tensor | None = None, *, progress: Progress = silent, stop: Stop = never
    ) -> Iterator[NDArray[np.uint8]]:
        """The same one chunk after the other, so that no more have to be kept."""
        for start in range(0, len(z), self.chunk):
            if stop():
                return
            count = min(self.chunk, len(z) - start)
            part = self._filled(z, start)
            weights = None if labels is None else self._filled(labels, start)
            with torch.inference_mode(), autocast(self.device, self._precision):
                pictures = self.generator(part, weights)
            yield to_pixels(pictures[:count])
            progress(Step("sample", start + count, len(z)))

    def _filled(self, rows: Tensor, start: int) -> Tensor:
        """One chunk of rows, zeros behind the last."""
        part = rows[start : start + self.chunk]
        filled = part.new_zeros(self.chunk, *part.shape[1:])
        filled[: len(part)] = part
        return filled.to(self.device)


def sample(
    generator: Generator, z: Tensor, labels: Tensor | None = None, device: torch.device | str = "cpu"
) -> NDArray[np.uint8]:
    """Noise (N, latent) and labels (N,) or (N, classes) → pictures (N, S, S, C) uint8; see `Sampler`."""
    return Sampler(generator, device)(z, labels)


def class_weights(labels: Tensor | Sequence[int], classes: int) -> Tensor:
    """Numbers (N,) → weights (N, classes) float32: 1 for that class, 0 for the others."""
    return torch.nn.functional.one_hot(torch.as_tensor(labels, dtype=torch.int64), classes).float()


def encode_latents(z: Tensor, weights: Tensor | None) -> bytes:
    """Noise (N, latent), and of a generator with classes their weights (N, classes) → a ``.npy`` file, side by side."""
    rows = z if weights is None else torch.cat([z, weights], 1)
    buffer = io.BytesIO()
    np.save(buffer, rows.detach().cpu().numpy().astype("<f4"), allow_pickle=False)
    return buffer.getvalue()


def decode_latents(data: bytes, generator: Generator, name: str) -> tuple[Tensor, Tensor | None]:
    """What `encode_latents` wrote → noise (N, latent), weights (N, classes) or None where the file has none.

    Args:
        data: of a ``.npy`` file with numbers (N, latent), (N, latent + classes), or one such row.
        generator: that they are meant for.
        name: for messages.

    Raises:
        BadInputError: not such a file, or for another generator.
    """
    rows = np.atleast_2d(_numbers(data, name))
    latent, classes = generator.latent, generator.shape.classes
    if rows.ndim != 2 or len(rows) == 0 or rows.shape[1] not in {latent, latent + classes}:
        wanted = f"{latent}" + (f" or {latent + classes}" if classes else "")
        raise BadInputError(
            f"'{name}' holds numbers of shape {rows.shape}; this generator takes rows of {wanted}. "
            "Use the checkpoint they were made with."
        )
    if not np.isfinite(rows).all():
        raise BadInputError(f"'{name}' holds numbers that are not finite. Make it again.")
    both = torch.from_numpy(rows.astype(np.float32))
    return both[:, :latent], both[:, latent:] if rows.shape[1] > latent else None


def _numbers(data: bytes, name: str) -> NDArray[np.floating]:
    try:
        return decode_numbers(data)
    except ValueError as error:
        raise BadInputError(
            f"'{name}' is not a .npy file of numbers. 'cvtool gan invert --latent' makes one."
        ) from error
