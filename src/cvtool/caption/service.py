"""Captions for pictures, and how good they are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from cvtool import bundled
from cvtool.caption.checkpoint import BUNDLED, Checkpoint, extractor_of, read_checkpoint
from cvtool.caption.decoding import Reader, Sentence, decode, follow
from cvtool.caption.extractor import Extractor
from cvtool.caption.numpy_engine import NumpyCaptioner
from cvtool.caption.options import TOGETHER, DecodeOptions, Engine
from cvtool.caption.vocabulary import SPECIALS, UNKNOWN, tokenize
from cvtool.errors import BadInputError, UsageError, nearest_names
from cvtool.images import Picture
from cvtool.progress import Progress, Step, silent

if TYPE_CHECKING:
    from pathlib import Path

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Candidate:
    """One caption.

    Attributes:
        caption: words with blanks between.
        log_probability: of all its words and its end.
        words: what it is made of; the last is <END>, unless the caption was cut.
        probabilities: of each of these, given those before it.
    """

    caption: str
    log_probability: float
    words: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Description:
    """What one picture shows, in words.

    Attributes:
        candidates: best first.
        attention: (T, h, w) where each word of the best caption looked; None without attention.
        seconds: wall time; of a batch, in equal parts.
    """

    candidates: tuple[Candidate, ...]
    attention: NDArray[np.float32] | None
    seconds: float

    @property
    def best(self) -> Candidate:
        """The first candidate."""
        return self.candidates[0]


@dataclass(frozen=True, eq=False)
class Describer:
    """A captioner with the network whose features it reads."""

    checkpoint: Checkpoint
    extractor: Extractor

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        *,
        device: torch.device | str = "cpu",
        weights: Path | None = None,
        precision: str = "auto",
        fold: bool = True,
    ) -> Describer:
        """Load the network that a captioner was trained with; arguments and errors are those of `extractor_of`."""
        extractor = extractor_of(checkpoint, device=device, weights=weights, precision=precision, fold=fold)
        checkpoint.captioner.to(device)
        return cls(checkpoint, extractor)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.extractor.model.device

    @cached_property
    def numpy_captioner(self) -> NumpyCaptioner:
        """The captioner once more, its recurrent part in NumPy.

        Raises:
            UsageError: the network is not on the CPU.
        """
        if self.device.type != "cpu":
            raise UsageError("NumPy computes on the CPU only. Use --engine numpy with --device cpu.")
        return NumpyCaptioner(self.checkpoint.captioner)

    def prefix(self, text: str) -> tuple[int, ...]:
        """A beginning of captions as numbers.

        Raises:
            UsageError: a word that the captioner does not know.
        """
        words = self.checkpoint.vocabulary.words
        found = []
        for token in tokenize(text):
            (number,) = self.checkpoint.vocabulary.encode([token], 1)[1:2]
            if number == UNKNOWN:
                nearest = ", ".join(nearest_names(token, words[len(SPECIALS) :]))
                raise UsageError(f"The captioner does not know the word '{token}'. Nearest: {nearest}.")
            found.append(int(number))
        return tuple(found)


def bundled_checkpoint() -> Checkpoint:
    """The captioner that comes with the install.

    Raises:
        WeightsUnavailableError: this install has none.
        BadInputError: it is not the one that was published.
    """
    return read_checkpoint(bundled.checkpoint(BUNDLED, "cvtool caption train"))


def captioners(paths: Sequence[Path]) -> list[Checkpoint]:
    """The captioners in some files, or the bundled one without any; several must know the same words and features.

    Raises:
        BadInputError: a file is broken, or they do not belong together.
    """
    found = [read_checkpoint(path) for path in paths] or [bundled_checkpoint()]
    for path, each in zip(paths[1:], found[1:], strict=False):
        if (each.vocabulary, each.features_fingerprint) != (found[0].vocabulary, found[0].features_fingerprint):
            raise BadInputError(f"'{path}' has other words or features than '{paths[0]}'. They cannot speak as one.")
    return found


def describe(
    pictures: Sequence[Pixels],
    describer: Describer,
    options: DecodeOptions | None = None,
    *,
    engine: Engine = Engine.torch,
    attention: bool = True,
    progress: Progress = silent,
) -> list[Description]:
    """Pictures (H, W, 3) float32 in [0, 1], of any sizes → what they show, in words.

    Args:
        pictures: sRGB; each is squeezed into the network's square, as in training.
        describer: see `Describer.of`.
        options: see `DecodeOptions`.
        engine: code that runs the recurrent part.
        attention: also tell where each word looked, if the captioner looks.
        progress: hears of pictures.

    Raises:
        UsageError: more words in the prefix than a caption may have.
    """
    options = options or DecodeOptions()
    if len(options.prefix) > options.longest:
        raise UsageError(f"A prefix of {len(options.prefix)} words does not fit captions of {options.longest}.")
    found: list[Description] = []
    for start in range(0, len(pictures), TOGETHER):
        found += _describe(pictures[start : start + TOGETHER], describer, options, engine, attention)
        progress(Step("describe", len(found), len(pictures)))
    return found


@torch.no_grad()
def _describe(
    pictures: Sequence[Pixels], describer: Describer, options: DecodeOptions, engine: Engine, attention: bool
) -> list[Description]:
    started = time.perf_counter()
    captioner: Reader = describer.checkpoint.captioner
    vocabulary = describer.checkpoint.vocabulary
    if engine is Engine.numpy:
        captioner = describer.numpy_captioner
    extractor = describer.extractor
    canvases = [extractor.canvas(Picture(pixels, None, 8, "a picture")) for pixels in pictures]
    size = extractor.batch
    features = np.concatenate([extractor(canvases[start : start + size])[1] for start in range(0, len(canvases), size)])
    pca = describer.checkpoint.pca
    if pca is not None:
        features = pca.project(features)
    seen = captioner.see_pictures(torch.from_numpy(features).to(describer.device))
    answers = decode(captioner, seen, options)
    looks = [
        follow(captioner, seen[number : number + 1], sentences[0].words)[1] if attention else None
        for number, sentences in enumerate(answers)
    ]
    height, width = extractor.origin.places
    seconds = (time.perf_counter() - started) / len(pictures)

    def candidate(sentence: Sentence) -> Candidate:
        words = [vocabulary.words[word] for word in sentence.words]
        shown = (*words, "<END>")[: len(sentence.probabilities)]
        return Candidate(" ".join(words), sentence.log_probability, shown, sentence.probabilities)

    return [
        Description(
            tuple(candidate(sentence) for sentence in sentences),
            None if look is None else look[: len(sentences[0].words)].reshape(-1, height, width),
            seconds,
        )
        for sentences, look in zip(answers, looks, strict=True)
    ]
