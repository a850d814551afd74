"""What training a generator can be told, with every default in one place. No torch: the command line reads this."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any


class Arch(str, Enum):
    """Shapes of generator and discriminator."""

    mlp = "mlp"
    dcgan = "dcgan"
    resnet = "resnet"
    cs231n_mlp = "cs231n-mlp"
    cs231n_dc = "cs231n-dc"


class Loss(str, Enum):
    """What the two networks play for."""

    bce = "bce"
    lsgan = "lsgan"
    wgan = "wgan"
    wgan_gp = "wgan-gp"
    hinge = "hinge"
    dragan = "dragan"
    r3gan = "r3gan"


class Penalty(str, Enum):
    """What keeps the discriminator smooth."""

    none = "none"
    gradient = "gradient"
    dragan = "dragan"
    r1_r2 = "r1+r2"


class Augment(str, Enum):
    """What is done to all pictures before the discriminator sees them."""

    off = "off"
    flip = "flip"
    diff = "diff"


@dataclass(frozen=True)
class Recipe:
    """What a loss needs besides itself, as its paper or our measurements have it.

    Attributes:
        rate_g, rate_d: Adam's learning rates (two time scales: Heusel et al. 2017).
        beta1, beta2: Adam's.
        critic_steps: of the discriminator for each of the generator.
        penalty: on the discriminator's gradients.
        weight: of the penalty.
        clip: the discriminator's weights are kept within ± this; 0 is off.
        spectral: spectral normalisation of the discriminator (Miyato et al. 2018, arXiv:1802.05957).
    """

    rate_g: float = 1e-3
    rate_d: float = 1e-3
    beta1: float = 0.5
    beta2: float = 0.99
    critic_steps: int = 1
    penalty: Penalty = Penalty.none
    weight: float = 0.0
    clip: float = 0.0
    spectral: bool = False


RECIPES: dict[Loss, Recipe] = {
    Loss.bce: Recipe(),
    Loss.lsgan: Recipe(),
    Loss.wgan: Recipe(5e-4, 5e-4, beta1=0.0, critic_steps=5, clip=0.01),
    Loss.wgan_gp: Recipe(beta1=0.0, beta2=0.9, critic_steps=5, penalty=Penalty.gradient, weight=10.0),
    Loss.hinge: Recipe(2e-3, 2e-3, beta1=0.0, spectral=True),
    Loss.dragan: Recipe(penalty=Penalty.dragan, weight=10.0),
    Loss.r3gan: Recipe(2e-3, 2e-3, beta1=0.0, penalty=Penalty.r1_r2, weight=0.1),
}


@dataclass(frozen=True)
class NetworkOptions:
    """The shape of the two networks.

    Attributes:
        arch: their family.
        latent: numbers that a picture is made from.
        width: channels of the widest pictures inside; they double whenever the side halves.
        minibatch_std: show the discriminator how much pictures differ within a batch (Karras et al. 2018).
        spectral: spectral normalisation of the discriminator; None: as the loss's recipe has it.
    """

    arch: Arch = Arch.dcgan
    latent: int = 64
    width: int = 16
    minibatch_std: bool = False
    spectral: bool | None = None


@dataclass(frozen=True)
class TrainOptions:
    """How networks are trained. What is None here is the loss's own, from `RECIPES`.

    Attributes:
        loss: of the game; unused by the VAE.
        vae: train a variational autoencoder instead: the generator's shape decodes, the discriminator's encodes.
        kl: weight of the VAE's Kullback-Leibler term.
        steps: of the generator; None: as many as the budget allows.
        budget: seconds for everything from the first step on, where `steps` is None.
        batch: pictures a step.
        rate_g, rate_d: Adam's learning rates.
        critic_steps: of the discriminator for each of the generator.
        penalty, weight: on the discriminator's gradients.
        lazy: the penalty enters every so many steps only, so many times as strong (Karras et al. 2020).
        fall: share of the run, at its end, in which the rates fall to 0 in a straight line.
        ema: how much of the averaged generator a step leaves as it was.
        smoothing: the label of real pictures is 1 − this (bce, lsgan, dragan).
        instance_noise: standard deviation of noise on all the discriminator sees, falling to 0 through the run.
        augment: what is done to all the discriminator sees; None: `diff` below `SMALL_DATA` pictures, else off.
        every: steps between two checks; None: about `CHECKS` of them, and never more than a fifth of the time.
        samples: pictures in a check.
        recover: go back to the best state, with gentler settings, when a run collapses; else stop.
        seed: of everything random.
        precision: ``auto`` (bf16 where the hardware has it), ``fp32`` or ``bf16``.
    """

    loss: Loss = Loss.r3gan
    vae: bool = False
    kl: float = 1.0
    steps: int | None = None
    budget: float = 600.0
    batch: int = 64
    rate_g: float | None = None
    rate_d: float | None = None
    critic_steps: int | None = None
    penalty: Penalty | None = None
    weight: float | None = None
    lazy: int = 4
    fall: float = 0.5
    ema: float = 0.998
    smoothing: float = 0.0
    instance_noise: float = 0.0
    augment: Augment | None = None
    every: int | None = None
    samples: int = 2000
    recover: bool = True
    seed: int = 0
    precision: str = "auto"

    @property
    def recipe(self) -> Recipe:
        """The loss's recipe with what was asked for instead; another penalty brings the weight it usually has."""
        own: dict[str, Any] = {
            "rate_g": self.rate_g,
            "rate_d": self.rate_d,
            "critic_steps": self.critic_steps,
            "penalty": self.penalty,
            "weight": self.weight,
        }
        if self.penalty is not None and self.weight is None:
            own["weight"] = next(each.weight for each in RECIPES.values() if each.penalty is self.penalty)
        return replace(RECIPES[self.loss], **{name: value for name, value in own.items() if value is not None})


SMALL_DATA = 5000
"""Pictures below which the discriminator would learn them by heart."""
CHECKS = 10
"""Of a run, unless told otherwise."""


def completed(pictures: int, networks: NetworkOptions, train: TrainOptions) -> tuple[NetworkOptions, TrainOptions]:
    """What follows from the loss and the number of pictures, where nothing else was asked for."""
    if networks.spectral is None:
        networks = replace(networks, spectral=not train.vae and RECIPES[train.loss].spectral)
    if train.augment is None:
        few = pictures < SMALL_DATA and not train.vae
        train = replace(train, augment=Augment.diff if few else Augment.off)
    return networks, train
