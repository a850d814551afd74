"""The one loop that optimises a picture: follow the gradient of a loss on the pixels, step by step.

Style transfer goes down a loss, class visualisation and fooling go up a score: pass the negative score.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from cvtool.replay import Replayed

Loss = Callable[[Tensor], Mapping[str, Tensor]]
"""Picture (1, 3, H, W) → named scalars; the one called ``"loss"`` is followed, the others are reported."""

State = dict[str, Tensor]


class Adam:
    """Adam (Kingma and Ba 2014, arXiv:1412.6980) for one picture, with the interface and state of `torch.optim.Adam`.

    torch's own imports its compiler when it is made, which takes two seconds: as long as a small picture.
    """

    def __init__(self, picture: Tensor, *, lr: float, betas: tuple[float, float], eps: float = 1e-8) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": [picture], "lr": lr, "betas": betas, "eps": eps}]
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradient."""
        self.param_groups[0]["params"][0].grad = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        """One step against the gradient that is there, or that `closure` computes."""
        if closure is not None:
            with torch.enable_grad():
                closure()
        group = self.param_groups[0]
        (picture,), (beta1, beta2) = group["params"], group["betas"]
        if picture not in self.state:
            zeros = {"exp_avg": torch.zeros_like(picture), "exp_avg_sq": torch.zeros_like(picture)}
            self.state[picture] = {"step": torch.tensor(0.0), **zeros}
        state = self.state[picture]
        state["step"] += 1
        count = state["step"].item()
        state["exp_avg"].lerp_(picture.grad, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(picture.grad, picture.grad, value=1 - beta2)
        deviation = (state["exp_avg_sq"] / (1 - beta2**count)).sqrt_().add_(group["eps"])
        picture.addcdiv_(state["exp_avg"], deviation, value=-group["lr"] / (1 - beta1**count))

    def state_dict(self) -> dict[str, Any]:
        """As torch's."""
        groups = [{**group, "params": [0]} for group in self.param_groups]
        return {"state": dict(enumerate(self.state.values())), "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As torch's."""
        picture = self.param_groups[0]["params"][0]
        self.param_groups = [{**group, "params": [picture]} for group in state["param_groups"]]
        # The count stays where it is: a GPU would have to be asked for it in every step.
        known = [
            {n: t.cpu() if n == "step" else t.to(picture) for n, t in each.items()} for each in state["state"].values()
        ]
        self.state = {picture: known[0]} if known else {}


class Average:
    """Bias-corrected exponential average of the pictures along the way: smoother than the last one.

    Args:
        picture: gives shape and device.
        decay: weight of the past; 0 keeps the last picture only.
    """

    def __init__(self, picture: Tensor, decay: float) -> None:
        self.decay = decay
        self.total = torch.zeros_like(picture)
        self.weight = 0.0

    def add(self, picture: Tensor) -> None:
        """Take one more picture in."""
        self.total.mul_(self.decay).add_(picture, alpha=1 - self.decay)
        self.weight = self.weight * self.decay + 1 - self.decay

    def value(self) -> Tensor:
        """The average so far; at least one picture must have been added."""
        return self.total / self.weight


def follow_gradient(
    picture: Tensor,
    loss: Loss,
    optimizer: torch.optim.Optimizer | Adam,
    *,
    project: Callable[[Tensor], Tensor] | None = None,
    scaler: torch.amp.GradScaler | None = None,
    replay: bool = False,
) -> Iterator[Mapping[str, Tensor]]:
    """Move `picture`, a leaf that `optimizer` holds, against the gradient of `loss`; endless.

    Args:
        picture: (1, 3, H, W), changed in place.
        loss: evaluated once a step (L-BFGS: as often as its line search asks).
        optimizer: holds `picture` as its only parameter.
        project: applied in place after each step, e.g. clamping to [0, 1].
        scaler: for fp16: scales the loss so that small gradients survive, skips steps that overflow.
        replay: `loss` does the same operations every time, without chance, so that a GPU may record it.

    Yields:
        The terms of the loss before the step, detached, after each step.
    """

    def gradient() -> Mapping[str, Tensor]:
        optimizer.zero_grad(set_to_none=True)
        terms = loss(picture)
        objective = terms["loss"]
        (objective if scaler is None else scaler.scale(objective)).backward()  # type: ignore[no-untyped-call]
        assert picture.grad is not None
        picture.grad = picture.grad.contiguous()  # L-BFGS flattens it, and fails on channels_last
        return {name: value.detach() for name, value in terms.items()}

    look = Replayed(gradient, picture.device, enabled=replay and scaler is None)
    while True:
        seen: list[Mapping[str, Tensor]] = []

        def closure() -> Tensor:
            seen.append({name: value.clone() for name, value in look().items()})  # noqa: B023 - used in this turn only
            return seen[-1]["loss"]  # noqa: B023

        if scaler is None:
            optimizer.step(closure)  # type: ignore[arg-type] # torch says float, its optimisers take a tensor
        else:
            closure()
            scaler.step(optimizer)  # type: ignore[arg-type] # needs `param_groups` and `step` only
            scaler.update()
        if project is not None:
            with torch.no_grad():
                project(picture)
        yield seen[0]


def unit_box(picture: Tensor) -> Tensor:
    """Clamp to [0, 1] in place: a picture stays a picture."""
    return picture.clamp_(0, 1)


def pack(tree: Any, prefix: str = "") -> tuple[Any, State]:
    """Nested dictionaries, lists, numbers and tensors → (JSON-able skeleton, flat tensors): a state without pickle."""
    tensors: State = {}

    def walk(node: Any, path: str) -> Any:
        if isinstance(node, Tensor):
            tensors[path] = node.detach().cpu().contiguous().clone()
            return {"tensor": path}
        if isinstance(node, dict):
            return {"dict": [[key, walk(value, f"{path}.{key}")] for key, value in node.items()]}
        if isinstance(node, (list, tuple)):
            return {"list": [walk(value, f"{path}.{i}") for i, value in enumerate(node)]}
        return node

    skeleton = walk(tree, prefix)
    json.dumps(skeleton)  # fails here, not when a run is resumed
    return skeleton, tensors


def unpack(skeleton: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `pack`; tuples come back as lists."""
    if isinstance(skeleton, dict):
        if "tensor" in skeleton:
            return tensors[skeleton["tensor"]]
        if "dict" in skeleton:
            return {key: unpack(value, tensors) for key, value in skeleton["dict"]}
        return [unpack(value, tensors) for value in skeleton["list"]]
    return skeleton
