"""What `visualize` can be told, with every default in one place. No torch here: the command line reads this."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cvtool.models.cards import DEFAULT_MODEL

ENSEMBLE = (DEFAULT_MODEL, "efficientnet-lite1", "efficientnet-lite2")
"""The networks that take turns unless others are named: what excites all three is more than one network's quirk."""


class Method(str, Enum):
    """How a picture is found."""

    fourier = "fourier"
    maco = "maco"
    cs231n = "cs231n"
    deepdream = "deepdream"


class Unit(str, Enum):
    """What of a layer a number names."""

    channel = "channel"
    neuron = "neuron"


@dataclass(frozen=True)
class Target:
    """What a picture is to excite: the logit of a class, or something inside the network.

    Attributes:
        index: of the class; None for something inside.
        layer: name of the layer inside; None for a class.
        unit: ``channel`` is the mean of a channel over all places, ``neuron`` its value at the central place.
        number: of the channel; None takes the whole layer's mean square, or `direction`.
        direction: one weight for each channel; its product with the activations is averaged over all places.
    """

    index: int | None = None
    layer: str | None = None
    unit: Unit = Unit.channel
    number: int | None = None
    direction: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """What files are called after; a class is named by those who know its name."""
        if self.layer is None:
            return f"class {self.index}"
        if self.direction:
            return f"{self.layer} direction"
        return self.layer if self.number is None else f"{self.layer} {self.unit.value} {self.number}"


@dataclass(frozen=True)
class VisualizeOptions:
    """Options of one visualisation.

    Attributes:
        method: how the picture is found.
        size: side of the picture in pixels; of one that starts from a given picture, the longer side. None asks the
            method.
        steps: of the optimisation; None asks the method.
        views: random views of the picture that the network sees at each step; None asks the method.
        diversity: pictures of each target, that are kept from looking alike.
        transparent: also find the opacity: what the network needs is opaque.
        batch: targets at a time; None asks the device. On the CPU more than one saves no time, and the last digits of
            sums, so in the end details of the pictures, depend on it.
        top_k: number of predictions that are reported.
        seed: seed of everything random; each picture of a target has the next.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
    """

    method: Method = Method.fourier
    size: int | None = None
    steps: int | None = None
    views: int | None = None
    diversity: int = 1
    transparent: bool = False
    batch: int | None = None
    top_k: int = 5
    seed: int = 0
    precision: str = "auto"
