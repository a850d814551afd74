"""What a classifier says, in words."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cvtool.errors import UsageError
from cvtool.models.cards import ModelCard
from cvtool.models.imagenet import classes

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Prediction:
    """A class and what the network gives for it."""

    index: int
    name: str
    wnid: str | None
    probability: float


def probabilities(logits: Tensor) -> Tensor:
    """(M, K) → (M, K): softmax, or for a network with one output the logistic function."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def check_class(index: int, count: int) -> int:
    """The index, if there is such a class among `count`.

    Raises:
        UsageError: there is none.
    """
    if not 0 <= index < count:
        raise UsageError(f"No class {index}: this network has {count}, counted from 0.")
    return index


def best_predictions(card: ModelCard, chances: Tensor, count: int) -> tuple[Prediction, ...]:
    """The `count` likeliest classes of probabilities (K,), best first."""
    order = chances.argsort(descending=True, stable=True)[:count]
    return tuple(prediction_of(card, chances, int(index)) for index in order)


def prediction_of(card: ModelCard, chances: Tensor, index: int) -> Prediction:
    """What probabilities (K,) give one class."""
    probability = float(chances[index])
    if card.classes == IMAGENET_CLASSES:
        known = classes()[index]
        return Prediction(index, known.name, known.wnid, probability)
    return Prediction(index, f"class {index}", None, probability)
