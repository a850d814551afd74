"""Tiny captioners and what they read, for tests of captioning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from cvtool.caption.batches import Corpus
from cvtool.caption.decoder import Captioner
from cvtool.caption.options import Cell, ModelOptions
from cvtool.caption.vocabulary import END, NULL, SPECIALS, START, UNKNOWN, Vocabulary

CHANNELS, PLACES = 6, 4
WORDS = ("dog", "cat", "red", "runs", "sits", "big", "ball", "a", "the", "on", "grass", "snow")
VOCABULARY = Vocabulary((*SPECIALS, *WORDS))


def tiny(
    cell: str = "lstm", *, words: int = len(VOCABULARY), seed: int = 0, sharp: float = 2.0, **changes
) -> Captioner:
    """An untrained captioner that has opinions: its weights are `sharp` times those it starts with."""
    options = {"hidden": 8, "embedding": 5, "layers": 1, "dropout": 0.0, **changes}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        captioner = Captioner(ModelOptions(cell=Cell(cell), **options), words, CHANNELS)
    with torch.no_grad():
        for parameter in captioner.parameters():
            parameter.mul_(sharp)
    return captioner.eval().requires_grad_(False)


def some_features(pictures: int, seed: int = 0) -> torch.Tensor:
    """(N, P, C)."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((pictures, PLACES, CHANNELS), np.float32))


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """By its definition, in double precision; −inf stays."""
    scores = scores.astype(np.float64)
    with np.errstate(divide="ignore"):
        chances = np.exp(scores - scores.max())
        return np.log(chances / chances.sum())


@torch.no_grad()
def next_logs(captioner, features: torch.Tensor, said: Sequence[int], *, allowed: bool = True) -> np.ndarray:
    """One picture (P, C) and the words so far → log probability of each next word (V,), from the start each time.

    With `allowed` only of what captions may say: no special words, and no end before the first word.
    """
    x, _, _ = captioner(captioner.see_pictures(features[None]), torch.tensor([[[START, *said]]]))
    scores = captioner.score(x[0, 0, -1]).numpy().copy()
    if allowed:
        scores[[NULL, START, UNKNOWN, *([] if said else [END])]] = -np.inf
    return log_softmax(scores)


def sentence_log(captioner, features: torch.Tensor, words: Sequence[int], longest: int) -> float:
    """Log probability of a caption; its end counts unless it was cut."""
    said = [*words, END] if len(words) < longest else list(words)
    return sum(next_logs(captioner, features, said[:place])[word] for place, word in enumerate(said))


class Memory:
    """Features (N, P, C) in memory; their mirror images are the places backwards."""

    can_flip = True
    channels = CHANNELS

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def read(self, numbers: Sequence[int], flipped: bool) -> np.ndarray:
        found = self.values[list(numbers)]
        return (found[:, ::-1] * 1.1 if flipped else found).astype(np.float16)


def corpus(captions: Sequence[Sequence[str]], *, longest: int = 8, seed: int = 0, flips: bool = False) -> Corpus:
    """Captions as texts, for each picture some → a corpus with random features."""
    features = Memory(some_features(len(captions), seed).numpy())
    features.can_flip = flips
    tokens = tuple(tuple(tuple(text.split()) for text in each) for each in captions)
    return Corpus(
        features,
        tuple(range(len(captions))),
        tuple(tuple(VOCABULARY.encode(each, longest) for each in some) for some in tokens),
        tokens,
        tuple(f"{number}.png" for number in range(len(captions))),
    )


def sentences(count: int, seed: int = 0) -> list[str]:
    """Different captions of three to six words."""
    random = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(random.choice(WORDS, random.integers(3, 7)))] = None
    return list(found)
