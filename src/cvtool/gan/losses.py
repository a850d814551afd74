"""What discriminator and generator play for, by name: functions of logits, never of probabilities.

A probability of 1 − 1e-9 is 1 in float32, its logarithm's gradient 0; the logit 20.7 says the same and still learns.
Twins in NumPy with hand-derived gradients are in `cvtool.reference.gan`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cvtool.errors import UsageError


class Terms(NamedTuple):
    """What each side makes small, as scalars in at least float32."""

    discriminator: Tensor
    generator: Tensor


@dataclass(frozen=True)
class AdversarialLoss:
    """One game. Called with logits, it gives both sides' `Terms`.

    Attributes:
        name: what users say.
        function: of logits (N,) of real pictures, of fakes, and the smoothing.
        paper: where it is from.
        boundary: a logit above it says "real"; None where only differences between logits mean something.
        smooths: it has a label "real" that can be smoothed.
        paired: the generator's term depends on the logits of real pictures too, so there must be as many as fakes.
    """

    name: str
    function: Callable[[Tensor, Tensor, float], Terms]
    paper: str
    boundary: float | None
    smooths: bool
    paired: bool

    def __call__(self, real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Terms:
        """Logits (N,) of real pictures and (M,) of fakes, any float type → `Terms`, means over the batch.

        Args:
            real: logits; where the loss is not `paired`, the generator's term does not depend on them.
            fake: logits. For the discriminator's step of pictures without gradient, for the generator's with.
            smoothing: one-sided: the label of real pictures is 1 − smoothing in the discriminator's term (Salimans et
                al. 2016, arXiv:1606.03498).

        Raises:
            UsageError: smoothing of a loss that has no labels.
            ValueError: logits that are not (N,), or of different numbers where they are paired.
        """
        if smoothing and not self.smooths:
            raise UsageError(f"The loss '{self.name}' has no labels to smooth. Leave smoothing at 0 or use bce.")
        # (N, 1) against (N,) would broadcast to (N, N) and train on nonsense without a word.
        if real.ndim != 1 or fake.ndim != 1 or (self.paired and real.shape != fake.shape):
            raise ValueError(f"expected logits (N,), got shapes {tuple(real.shape)} and {tuple(fake.shape)}")
        return self.function(_wide(real), _wide(fake), smoothing)

    def accuracy(self, real: Tensor, fake: Tensor) -> Tensor:
        """Logits (N,) and (M,) → scalar in [0, 1] without gradient: how well the discriminator tells them apart.

        The mean of the shares of real pictures and of fakes that are on the right side of the boundary; without a
        boundary the share of all pairs in which the real picture has the larger logit. Chance is ½ in both.
        """
        real, fake = _wide(real.detach()), _wide(fake.detach())
        if self.boundary is None:
            return (real[:, None] > fake).to(real.dtype).mean()
        right = (real > self.boundary).to(real.dtype).mean() + (fake <= self.boundary).to(real.dtype).mean()
        return right / 2


LOSSES: dict[str, AdversarialLoss] = {}
"""By name."""


def adversarial_loss(
    name: str, *, paper: str, boundary: float | None = 0.0, smooths: bool = False, paired: bool = False
) -> Callable[[Callable[[Tensor, Tensor, float], Terms]], Callable[[Tensor, Tensor, float], Terms]]:
    """Enter the decorated function into `LOSSES`; the arguments are `AdversarialLoss`'s."""

    def enter(function: Callable[[Tensor, Tensor, float], Terms]) -> Callable[[Tensor, Tensor, float], Terms]:
        LOSSES[name] = AdversarialLoss(name, function, paper, boundary, smooths, paired)
        return function

    return enter


@adversarial_loss("dragan", paper="Kodali et al. 2017, arXiv:1705.07215 (with its penalty)", smooths=True)
@adversarial_loss("bce", paper="Goodfellow et al. 2014, arXiv:1406.2661 (non-saturating)", smooths=True)
def bce(real: Tensor, fake: Tensor, smoothing: float) -> Terms:
    """Cross-entropy of "real" and "fake"; the generator wants its pictures called real.

    D: mean −log σ(real) + mean −log(1 − σ(fake)); G: mean −log σ(fake).
    """
    truth = F.binary_cross_entropy_with_logits(real, torch.full_like(real, 1 - smoothing))
    lie = F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    return Terms(truth + lie, F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake)))


@adversarial_loss("lsgan", paper="Mao et al. 2017, arXiv:1611.04076", boundary=0.5, smooths=True)
def lsgan(real: Tensor, fake: Tensor, smoothing: float) -> Terms:
    """Squared distance to the labels 1 and 0. D: ½ mean (real − 1)² + ½ mean fake²; G: ½ mean (fake − 1)²."""
    discriminator = (real - (1 - smoothing)).square().mean() + fake.square().mean()
    return Terms(discriminator / 2, (fake - 1).square().mean() / 2)


@adversarial_loss("wgan-gp", paper="Gulrajani et al. 2017, arXiv:1704.00028 (with its penalty)", boundary=None)
@adversarial_loss("wgan", paper="Arjovsky et al. 2017, arXiv:1701.07875", boundary=None)
def wgan(real: Tensor, fake: Tensor, smoothing: float) -> Terms:
    """The earth mover's distance. D: mean fake − mean real; G: −mean fake."""
    return Terms(fake.mean() - real.mean(), -fake.mean())


@adversarial_loss("hinge", paper="Lim and Ye 2017, arXiv:1705.02894; Miyato et al. 2018, arXiv:1802.05957")
def hinge(real: Tensor, fake: Tensor, smoothing: float) -> Terms:
    """A margin of 1 to each side. D: mean max(0, 1 − real) + mean max(0, 1 + fake); G: −mean fake."""
    return Terms(F.relu(1 - real).mean() + F.relu(1 + fake).mean(), -fake.mean())


@adversarial_loss(
    "r3gan",
    paper="Jolicoeur-Martineau 2019, arXiv:1807.00734; Huang et al. 2024, arXiv:2501.05441 (with R1 and R2)",
    boundary=None,
    paired=True,
)
def r3gan(real: Tensor, fake: Tensor, smoothing: float) -> Terms:
    """Each fake against one real picture. D: mean −log σ(real − fake); G: mean −log σ(fake − real)."""
    return Terms(-F.logsigmoid(real - fake).mean(), -F.logsigmoid(fake - real).mean())


def _wide(logits: Tensor) -> Tensor:
    """In float32 at least: a mean of many bfloat16 numbers has two digits."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
