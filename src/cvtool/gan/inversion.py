"""From a picture back to the noise that a generator would make it from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cvtool.ascend import Adam, follow_gradient
from cvtool.codecs.rasters import to_levels, unit
from cvtool.colorspaces import LUMA
from cvtool.errors import UsageError
from cvtool.gan.feeding import to_signed
from cvtool.gan.networks import Generator
from cvtool.gan.sampling import class_weights, latents, sample
from cvtool.gan.use_options import InvertOptions
from cvtool.hooks import feature_layers, features
from cvtool.images import resize
from cvtool.models.folding import fold_batch_norm
from cvtool.models.loader import Model
from cvtool.progress import Progress, Step, Stop, never, silent
from cvtool.similarity import psnr, ssim

Sight = Callable[[Tensor], Tensor]
"""Pictures (N, C, S, S) in [−1, 1] → how differently each looks from the wanted one, (N,), differentiable."""

SEEN_AT = 64  # pixels; the image network sees pictures enlarged to this side, smaller ones leave its last maps empty
STRIDES = (2, 4, 8)  # of the layers that are compared: edges, textures, parts
FIRST_CLASSES = 5.0  # logit of the class that a start begins with: it may still leave it


@dataclass(frozen=True, eq=False)
class Inversion:
    """What a generator can make that is most like a picture.

    Attributes:
        wanted: the picture (S, S, C) uint8 as the generator would have it.
        found: the nearest (S, S, C) uint8.
        z: noise it is made from, (latent,).
        weights: of the classes (classes,) float32 that sum to 1; None of a generator without.
        psnr: of `found` against `wanted`, in dB.
        ssim: structural similarity of the two, at most 1.
        loss: of `found`.
        steps: of the search.
        stopped_by: ``"steps"`` or ``"interrupt"``.
        seconds: wall time.
    """

    wanted: NDArray[np.uint8]
    found: NDArray[np.uint8]
    z: Tensor
    weights: Tensor | None
    psnr: float
    ssim: float
    loss: float
    steps: int
    stopped_by: str
    seconds: float


def fitted(pixels: NDArray[np.float32], size: int, channels: int) -> NDArray[np.uint8]:
    """Picture (H, W, 3) in [0, 1] → (size, size, channels) uint8: its middle square, made smaller or larger."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    if side != size:
        square = resize(square, size, size)
    if channels == 1:
        square = (square @ LUMA)[..., None]
    return to_levels(square)


def invert(
    wanted: NDArray[np.uint8],
    generator: Generator,
    options: InvertOptions | None = None,
    *,
    label: int | None = None,
    model: Model | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
    stop: Stop = never,
) -> Inversion:
    """Search the noise, and the class, whose picture is most like `wanted`.

    Many starts are followed together by the difference of pixels, which is cheap; the best of them then also by what an
    image network sees. The classes' weights move freely between the corners of their simplex.

    Args:
        wanted: (S, S, C) uint8 as `fitted` makes it.
        generator: in evaluation mode.
        options: see `InvertOptions`.
        label: keep to this class; None to look for it, too.
        model: the image network; None compares pixels only.
        device: where to compute.
        progress: hears of steps.
        stop: asked between steps; the best so far is the result.

    Raises:
        UsageError: `wanted` is not of the generator's shape, or the options are not sensible.
    """
    options = options or InvertOptions()
    started = time.perf_counter()
    _check(wanted, generator, options, label)
    generator = generator.to(device)
    target = to_signed(torch.from_numpy(wanted.copy())[None]).to(device)
    search = _Search(generator, target, options, label)
    places = search.starts()
    places, losses, done, stopped = search.follow(places, None, "starts", progress, stop)
    if not stopped:
        best = losses.argsort()[: options.survivors]
        sight = None if model is None or options.features == 0 else _sight(model, target)
        places, losses, more, stopped = search.follow(places[best], sight, "survivors", progress, stop)
        done += more
    chosen = int(losses.argmin())
    z, weights = search.split(places[chosen : chosen + 1])
    found = sample(generator, z, weights, device)[0]
    one, other = (unit(each[..., 0] if each.shape[2] == 1 else each) for each in (wanted, found))
    return Inversion(
        wanted,
        found,
        z[0].cpu(),
        None if weights is None else weights[0].cpu(),
        psnr(one, other),
        ssim(one, other),
        float(losses[chosen]),
        done,
        "interrupt" if stopped else "steps",
        time.perf_counter() - started,
    )


@dataclass(frozen=True, eq=False)
class _Search:
    """Places in the space of noise and classes, (N, latent + classes), and how they move."""

    generator: Generator
    target: Tensor
    options: InvertOptions
    label: int | None

    def starts(self) -> Tensor:
        """Random places, every class in turn."""
        count, classes = self.options.starts, self.generator.shape.classes
        first = self.options.seed * count
        z = latents(self.generator, range(first, first + count))
        if not classes:
            return z.to(self.target.device)
        numbers = torch.arange(count) % classes
        return torch.cat([z, class_weights(numbers, classes) * FIRST_CLASSES], 1).to(self.target.device)

    def split(self, places: Tensor) -> tuple[Tensor, Tensor | None]:
        """Noise (N, latent) and weights of the classes (N, classes)."""
        z, logits = places[:, : self.generator.latent], places[:, self.generator.latent :]
        if not self.generator.shape.classes:
            return z, None
        if self.label is not None:
            chosen = torch.full((len(z),), self.label, dtype=torch.int64)
            return z, class_weights(chosen, self.generator.shape.classes).to(z.device)
        return z, logits.softmax(1)

    def losses(self, places: Tensor, sight: Sight | None) -> Tensor:
        """Of each place, (N,)."""
        z, weights = self.split(places)
        pictures = self.generator(z, weights)
        found: Tensor = (pictures - self.target).square().mean((1, 2, 3))
        if not self.generator.uniform:
            found = found + self.options.prior * z.square().mean(1)
        if sight is not None:
            found = found + self.options.features * sight(pictures)
        return found

    def follow(
        self, places: Tensor, sight: Sight | None, stage: str, progress: Progress, stop: Stop
    ) -> tuple[Tensor, Tensor, int, bool]:
        """Places after the search, each the best on its way, their losses, the number of steps, and whether it ended
        early."""
        leaf = places.detach().clone().requires_grad_(True)
        optimizer = Adam(leaf, lr=self.options.rate, betas=(0.9, 0.99))
        best, lowest = leaf.detach().clone(), torch.full((len(leaf),), torch.inf, device=leaf.device)
        before = best

        def loss(here: Tensor) -> Mapping[str, Tensor]:
            nonlocal before
            before = here.detach().clone()
            each = self.losses(here, sight)
            return {"loss": each.sum(), "each": each}  # Adam keeps the rows apart

        done = 0
        for terms in islice(self._steps(leaf, loss, optimizer), self.options.steps):
            better = terms["each"] < lowest
            best, lowest = torch.where(better[:, None], before, best), torch.where(better, terms["each"], lowest)
            done += 1
            progress(Step(stage, done, self.options.steps, {"loss": float(lowest.min())}))
            optimizer.param_groups[0]["lr"] = self.options.rate * self._slowing(done)
            if stop():
                break
        return best, lowest, done, done < self.options.steps

    def _steps(
        self, leaf: Tensor, loss: Callable[[Tensor], Mapping[str, Tensor]], optimizer: Adam
    ) -> Iterator[Mapping[str, Tensor]]:
        return follow_gradient(leaf, loss, optimizer, project=self._into_box if self.generator.uniform else None)

    def _into_box(self, places: Tensor) -> Tensor:
        """Evenly spread noise ends at ±1."""
        places[:, : self.generator.latent].clamp_(-1, 1)
        return places

    def _slowing(self, done: int) -> float:
        """1 in the first half, then down to .1."""
        return 1 - 0.9 * max(0.0, 2 * done / self.options.steps - 1)


def _sight(model: Model, target: Tensor) -> Sight:
    """Differences of unit-length features at each place, mean over layers and places (as in Zhang et al. 2018,
    arXiv:1801.03924, without their learned weights)."""
    probe = torch.zeros(1, 3, SEEN_AT, SEEN_AT, device=model.device)
    layers = feature_layers(model.module, probe)
    names = [
        found[-1].name
        for stride in STRIDES
        if (found := [layer for layer in layers if layer.activated and layer.stride == stride])
    ]
    if not names:
        raise UsageError(f"'{model.card.name}' has no maps to compare pictures by. Choose a convolutional network.")
    network = fold_batch_norm(model.module, model.card.input_size)

    def seen(pictures: Tensor) -> list[Tensor]:
        x = F.interpolate((pictures + 1) / 2, (SEEN_AT, SEEN_AT), mode="bilinear", antialias=True)
        maps = features(network, model.normalize(x.expand(-1, 3, -1, -1)), names)
        return [F.normalize(maps[name], dim=1) for name in names]

    with torch.no_grad():
        wanted = seen(target)

    def differences(pictures: Tensor) -> Tensor:
        pairs = zip(seen(pictures), wanted, strict=True)
        return torch.stack([(one - other).square().sum(1).mean((1, 2)) for one, other in pairs]).mean(0)

    return differences


def _check(wanted: NDArray[np.uint8], generator: Generator, options: InvertOptions, label: int | None) -> None:
    shape = generator.shape
    if wanted.shape != (shape.size, shape.size, shape.channels) or wanted.dtype != np.uint8:
        raise UsageError(f"A picture {wanted.shape} of {wanted.dtype} is not one of this generator. Use fitted().")
    if label is not None and not 0 <= label < shape.classes:
        raise UsageError(f"Label {label} is not one of the generator's {shape.classes} classes.")
    if min(options.starts, options.survivors, options.steps) < 1 or not options.rate > 0:
        raise UsageError("A search needs at least one start, one survivor, one step and a rate above 0.")
