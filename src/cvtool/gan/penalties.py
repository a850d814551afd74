"""What keeps a discriminator smooth: functions of its gradient with respect to pictures.

All penalties are scalars in at least float32, means over the batch, without weight, to be added to the
discriminator's loss and differentiated again. They take the discriminator as a function ``(pictures, labels) →
logits (N,)`` that treats every picture alone: batch normalisation would mix pictures, and the gradient of one logit
would not be one picture's. What `torch.compile` made will not do: it cannot be differentiated twice. Pictures are
(N, C, H, W); no gradient flows back to whoever made them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from cvtool.distributed import Share

Discriminator = Callable[[Tensor, Tensor | None], Tensor]

PERTURBATION = 0.5
"""DRAGAN's noise reaches up to this many standard deviations of the pictures."""


def r1(discriminator: Discriminator, real: Tensor, labels: Tensor | None) -> Tensor:
    """``mean ‖∇ₓ D(x)‖²`` over real pictures (Mescheder et al. 2018, arXiv:1801.04406, whose weight is γ / 2)."""
    return input_gradient(discriminator, real, labels).square().sum(_PICTURE).mean()


def r2(discriminator: Discriminator, fake: Tensor, labels: Tensor | None) -> Tensor:
    """`r1` over fakes; labels are those the fakes were made for."""
    return r1(discriminator, fake, labels)


def r1_and_r2(logits: Tensor, both: Tensor) -> Tensor:
    """``½ (R1 + R2)`` where the logits (2N,) of real pictures and fakes were computed already, in one batch.

    Args:
        logits: of the discriminator, still with their graph.
        both: the pictures (2N, C, H, W), half real and half fake, that required a gradient then.
    """
    return _slopes(logits, both).square().sum(_PICTURE).mean()


def gradient_penalty(
    discriminator: Discriminator,
    real: Tensor,
    fake: Tensor,
    labels: Tensor | None,
    generator: torch.Generator,
    share: Share | None = None,
) -> Tensor:
    """``mean (‖∇ₓ D(x)‖ − 1)²`` at random points between real pictures and fakes (Gulrajani et al. 2017).

    Args:
        discriminator: without batch normalisation.
        real: (N, C, H, W).
        fake: (N, C, H, W), of the same labels, one for each real picture.
        labels: (N,) of both, or None.
        generator: draws where between them, once a picture; on the CPU the draws are the same for every device.
        share: which rows of a batch the pictures are; None: all of it.

    Raises:
        ValueError: real pictures and fakes of different shapes.
    """
    if real.shape != fake.shape:
        raise ValueError(f"expected as many fakes as real pictures, got {tuple(real.shape)} and {tuple(fake.shape)}")
    between = torch.lerp(real.detach(), fake.detach().to(real), _uniform_per_picture(real, generator, share))
    return _distance_from_one(input_gradient(discriminator, between, labels))


def dragan(
    discriminator: Discriminator,
    real: Tensor,
    labels: Tensor | None,
    generator: torch.Generator,
    share: Share | None = None,
    deviation: Tensor | None = None,
) -> Tensor:
    """``mean (‖∇ₓ D(x)‖ − 1)²`` around real pictures (Kodali et al. 2017, arXiv:1705.07215).

    As in the authors' code: ``x + α · ½ std · u``, std of the whole batch, u uniform in [0, 1) for every value and α
    for every picture.

    Args:
        discriminator: without batch normalisation.
        real: (N, C, H, W).
        labels: (N,), or None.
        generator: draws α, then u; on the CPU the draws are the same for every device.
        share: which rows of a batch the pictures are; None: all of it.
        deviation: std of the batch; None: of these pictures.
    """
    real = real.detach()
    alpha = _uniform_per_picture(real, generator, share)
    noise = _uniform(real.shape, real, generator, share)
    reach = PERTURBATION * (real.std(correction=0) if deviation is None else deviation)
    return _distance_from_one(input_gradient(discriminator, real + alpha * reach * noise, labels))


def input_gradient(discriminator: Discriminator, pictures: Tensor, labels: Tensor | None) -> Tensor:
    """Gradient of each picture's logit with respect to that picture (N, C, H, W), differentiable once more."""
    points = pictures.detach().requires_grad_()
    return _slopes(discriminator(points, labels), points)


def clip_weights(weights: Iterable[Tensor], limit: float) -> None:
    """Keep all weights within ± limit, in place: the first Wasserstein critic's constraint (Arjovsky et al. 2017)."""
    with torch.no_grad():
        for weight in weights:
            weight.clamp_(-limit, limit)


_PICTURE = (1, 2, 3)


def _slopes(logits: Tensor, points: Tensor) -> Tensor:
    # Pictures do not mix, so the gradient of the sum is every picture's own.
    (gradient,) = torch.autograd.grad(logits.sum(), points, create_graph=True)
    return gradient if gradient.dtype == torch.float64 else gradient.float()


def _distance_from_one(gradient: Tensor) -> Tensor:
    # Unlike a square root of a sum, vector_norm has the gradient 0 where a picture's gradient vanishes, not NaN.
    lengths: Tensor = torch.linalg.vector_norm(gradient, dim=_PICTURE)
    return (lengths - 1).square().mean()


def _uniform_per_picture(pictures: Tensor, generator: torch.Generator, share: Share | None) -> Tensor:
    return _uniform(torch.Size((len(pictures), 1, 1, 1)), pictures, generator, share)


def _uniform(shape: torch.Size, like: Tensor, generator: torch.Generator, share: Share | None) -> Tensor:
    """In [0, 1), drawn in float32 where the generator is, then brought to where `like` is."""
    rows = share or Share.whole(shape[0])
    drawn = rows.draw(lambda count: torch.rand(count, *shape[1:], generator=generator, device=generator.device))
    return drawn.to(like, non_blocking=True)
