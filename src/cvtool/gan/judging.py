"""How good a generator is: its pictures against real ones, and other real ones against the same for scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvtool.errors import BadInputError
from cvtool.gan.checkpoint import Checkpoint
from cvtool.gan.datasets.data import Pictures
from cvtool.gan.evaluation import Evaluation, Judge
from cvtool.gan.features import FeatureModel
from cvtool.gan.feeding import likely_labels
from cvtool.gan.labels import in_turn
from cvtool.gan.sampling import Sampler, latents
from cvtool.gan.use_options import FEWEST_JUDGED, JudgeOptions
from cvtool.progress import Progress, silent
from cvtool.tensors import seeded


@dataclass(frozen=True, eq=False)
class Judgement:
    """What was measured.

    Attributes:
        found: the generator's pictures against the reference.
        real: other real pictures against the same reference, the best that can be reached; None if there are too few.
        real_from: where those come from, ``"test"`` or ``"train"``.
        samples: the first `JudgeOptions.shown` generated pictures (K, S, S, C) uint8.
        nearest: of each the most similar of the reference, (K, neighbours, S, S, C) uint8, nearest first.
        options: as used.
    """

    found: Evaluation
    real: Evaluation | None
    real_from: str | None
    samples: NDArray[np.uint8]
    nearest: NDArray[np.uint8]
    options: JudgeOptions


def judge(
    checkpoint: Checkpoint,
    train: Pictures,
    test: Pictures | None,
    model: FeatureModel,
    options: JudgeOptions | None = None,
    *,
    device: torch.device | str = "cpu",
    truncation: float | None = None,
    progress: Progress = silent,
) -> Judgement:
    """Compare as many generated as real pictures.

    Args:
        checkpoint: the generator.
        train: real pictures; `JudgeOptions.samples` of them, chosen at random, are the reference.
        test: real pictures the generator cannot have seen, as many compared with the reference; None: those of `train`
            that the reference leaves.
        model: whose features are compared.
        options: see `JudgeOptions`.
        device: where the generator computes.
        truncation: as `latents` takes it.
        progress: hears of pictures.

    Raises:
        BadInputError: the real pictures have another shape than the generator's, or are too few.
    """
    options = options or JudgeOptions()
    generator = checkpoint.generator
    wanted = (generator.shape.size, generator.shape.size, generator.shape.channels)
    for pictures in (train, test):
        if pictures is not None and pictures.pixels.shape[1:] != wanted:
            raise BadInputError(f"Pictures of {pictures.pixels.shape[1:]} do not compare with {wanted} generated ones.")
    order = np.random.default_rng(options.seed).permutation(len(train))
    chosen, rest = np.sort(order[: options.samples]), np.sort(order[options.samples : 2 * options.samples])
    if test is None and len(train) < 2 * options.samples:  # rather equal halves than a good reference and no scale
        half = len(train) // 2
        chosen, rest = np.sort(order[:half]), np.sort(order[half : 2 * half])
    if len(chosen) < FEWEST_JUDGED:
        why, least = (": half of them judge the others", 2 * FEWEST_JUDGED) if test is None else ("", FEWEST_JUDGED)
        raise BadInputError(f"{len(train)} pictures are too few to be judged by{why}. Give at least {least}.")
    reference = train.pixels[chosen]
    referee = Judge(reference, model, progress=progress)
    seeds = range(options.seed, options.seed + options.samples)
    sampler = Sampler(generator, device)
    labels = _labels(checkpoint, train, options)
    samples = sampler(latents(generator, seeds, truncation), labels, progress=progress)
    found = referee.evaluate(samples, progress=progress)
    others, source = _others(train, rest, test, options)
    real = None if others is None else referee.evaluate(others, progress=progress)
    shown = samples[: options.shown]
    places, _ = referee.nearest(shown, options.neighbours)
    return Judgement(found, real, source if real else None, shown, reference[places], options)


def _labels(checkpoint: Checkpoint, train: Pictures, options: JudgeOptions) -> Tensor | None:
    """Classes as often as in the data, where it has the generator's; else each as often as the others."""
    if not checkpoint.classes:
        return None
    if train.classes == checkpoint.classes:
        return likely_labels(train, options.samples, seeded(options.seed))
    return torch.tensor(in_turn(range(len(checkpoint.classes)), options.samples))


def _others(
    train: Pictures, rest: NDArray[np.int64], test: Pictures | None, options: JudgeOptions
) -> tuple[NDArray[np.uint8] | None, str]:
    """Real pictures that are not in the reference; None if there are too few."""
    if test is not None:
        rest = np.sort(np.random.default_rng(options.seed).permutation(len(test))[: options.samples])
        return (test.pixels[rest] if len(rest) >= FEWEST_JUDGED else None), "test"
    return (train.pixels[rest] if len(rest) >= FEWEST_JUDGED else None), "train"
