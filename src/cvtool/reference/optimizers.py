"""Adam in plain NumPy, close to the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cvtool.reference.recurrent import Array


@dataclass(frozen=True)
class AdamMemory:
    """What Adam remembers between steps: how many there were, and running means of g and g², by name."""

    steps: int = 0
    mean: Mapping[str, Array] = field(default_factory=dict)
    square: Mapping[str, Array] = field(default_factory=dict)


def adam_step(
    parameters: Mapping[str, Array],
    gradients: Mapping[str, Array],
    memory: AdamMemory,
    rate: float,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> tuple[dict[str, Array], AdamMemory]:
    """One step of Adam (Kingma & Ba, 2015) → (new parameters, new memory); start with ``AdamMemory()``.

    m ← β₁ m + (1 − β₁) g;  s ← β₂ s + (1 − β₂) g²
    θ ← θ − rate · m̂ / (√ŝ + ε)  with m̂ = m / (1 − β₁ᵗ), ŝ = s / (1 − β₂ᵗ)
    """
    t = memory.steps + 1
    mean: dict[str, Array] = {}
    square: dict[str, Array] = {}
    moved: dict[str, Array] = {}
    for name, theta in parameters.items():
        g = gradients[name]
        mean[name] = beta1 * memory.mean.get(name, np.zeros_like(g)) + (1 - beta1) * g
        square[name] = beta2 * memory.square.get(name, np.zeros_like(g)) + (1 - beta2) * g**2
        m_hat = mean[name] / (1 - beta1**t)
        s_hat = square[name] / (1 - beta2**t)
        moved[name] = theta - rate * m_hat / (np.sqrt(s_hat) + epsilon)
    return moved, AdamMemory(t, mean, square)


def clipped(gradients: Mapping[str, Array], longest: float) -> dict[str, Array]:
    """All gradients scaled so that their common length √Σ‖g‖² is at most `longest`, as torch's clip_grad_norm_."""
    length = float(np.sqrt(sum(float((g**2).sum()) for g in gradients.values())))
    factor = min(1.0, longest / (length + 1e-6))  # torch's small number against division by zero
    return {name: g * factor for name, g in gradients.items()}
