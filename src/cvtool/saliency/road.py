"""ROAD: pixels are removed by filling them in from around; Rong et al. (2022), arXiv:2202.00449."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvtool.saliency.question import Question

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Of the pixels, that are removed."""
NOISE = 0.01
"""Standard deviation of what is added to filled pixels, so that no network can tell them by their smoothness."""


def road(question: Question, map: NDArray[np.float32]) -> tuple[float, float]:
    """Mean probabilities of the target with the most (MoRF), and with the least relevant pixels removed (LeRF).

    Args:
        question: of one picture.
        map: (H, W), how relevant its pixels are.
    """
    picture, weights, generator = question.x[0].cpu(), neighbours(*map.shape), question.random()
    order = np.argsort(-map, axis=None, kind="stable")
    copies = []
    for first in (order, order[::-1]):
        for share in SHARES:
            gone = np.zeros(map.shape, dtype=bool)
            gone.flat[first[: round(share * order.size)]] = True
            noise = NOISE * torch.randn(picture.shape, generator=generator)
            copies.append(filled(picture, gone, weights) + noise * torch.from_numpy(gone))
    found: list[Tensor] = []
    for count in question.rounds(len(copies), "ROAD"):
        some, copies = torch.stack(copies[:count]), copies[count:]
        found.append(question.probabilities(some.to(question.x)))
    morf, lerf = torch.cat(found).view(2, -1).mean(1).tolist()
    return morf, lerf


def neighbours(height: int, width: int) -> Any:
    """A sparse matrix (H · W, H · W): how much each pixel says of the eight around it, those at the corners half."""
    from scipy.sparse import eye_array, kron

    down, across = (eye_array(side, k=1) + eye_array(side, k=-1) for side in (height, width))
    straight = kron(down, eye_array(width)) + kron(eye_array(height), across)
    return (straight / 6 + kron(down, across) / 12).tocsr()


def filled(picture: Tensor, gone: NDArray[np.bool_], weights: Any) -> Tensor:
    """(C, H, W) in which each pixel that is `gone` (H, W) is the weighted mean of its neighbours, also of such."""
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import splu

    lost, values = gone.ravel(), picture.flatten(1).numpy()
    rows = weights[lost]
    system = (diags_array(rows.sum(1)) - rows[:, lost]).tocsc()
    # It is symmetric and its diagonal the largest: no row has to be exchanged, and the factors stay sparse.
    factors = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    result = values.copy()
    result[:, lost] = factors.solve(rows[:, ~lost] @ values[:, ~lost].T).T
    return torch.from_numpy(result).view_as(picture)
