"""What a captioner is trained on: words of people, then the judgement of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cvtool.caption.vocabulary import NULL


def temporal_softmax_loss(scores: Tensor, targets: Tensor, captions: int, smoothing: float = 0.0) -> Tensor:
    """−log softmax of the right words, summed over all words, divided by the number of captions (the course's).

    Args:
        scores: (W, V) of words that are not <NULL>, all captions one after the other.
        targets: (W,) the right words.
        captions: how many captions they come from.
        smoothing: share of the probability that is spread over all words (Szegedy et al., arXiv:1512.00567).
    """
    return nn.functional.cross_entropy(scores.float(), targets, reduction="sum", label_smoothing=smoothing) / captions


def self_critical_loss(logs: Tensor, rewards: Tensor) -> Tensor:
    """−Σ advantage · log p, over the number of captions drawn (Rennie et al. 2017, arXiv:1612.00563).

    Differs: a caption's baseline is the mean reward of the picture's other captions (Luo 2020, arXiv:2003.09971)
    instead of the greedy caption's.

    Args:
        logs: (N, K) log probability of each of K captions of N pictures, with gradient.
        rewards: (N, K).
    """
    drawn = rewards.shape[1]
    others = (rewards.sum(1, keepdim=True) - rewards) / (drawn - 1)
    return -((rewards - others).detach() * logs).mean()


def log_probabilities(scores: Tensor, targets: Tensor) -> Tensor:
    """Scores (..., V) and words (...) → log probability of each; 0 for <NULL>."""
    logs = torch.log_softmax(scores.float(), -1).gather(-1, targets[..., None]).squeeze(-1)
    return logs.masked_fill(targets == NULL, 0)
