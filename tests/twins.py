"""Slow twins of the attacks: one picture at a time, in plain loops, from the papers.

They share no code with `cvtool.fool.attacks`, and they state the papers' numbers once more. A twin shows the network
the same pictures in the same order as its attack. Some hear in each round, by `yield`, whether all pictures are fooled:
there the attack ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator

import numpy as np
import torch
from torch import nn

Array = np.ndarray
Rounds = Generator[None, bool, None]
Put = Callable[..., torch.Tensor]
SLACK = 1e-3


class Case:
    """One picture (3, H, W) with its goal; knows the network through logits and vector-Jacobian products alone."""

    def __init__(self, module: nn.Module, x: Array, label: int, target: int | None, norm: str, eps: float) -> None:
        self.module, self.x, self.label, self.target, self.norm, self.eps = module, x, label, target, norm, eps
        self.mask: Array | None = None
        self.wears: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = ()
        self.seen: list[Array] = []
        self.shown: list[Array] = []
        self.forget()
        self.best = x

    def forget(self) -> None:
        self.distance, self.lead = math.inf, -math.inf

    @property
    def fooled(self) -> bool:
        return self.distance < math.inf

    def look(self, x: Array, wanted: Callable[[Array], Array] | None = None) -> tuple[Array, Array]:
        """Logits (K,), and the gradient of Σ wanted(logits) · logits with the factors held still, the mean over wears.

        `seen` are the logits of the unworn picture and of the worn ones.
        """
        leaf = torch.from_numpy(x.copy())[None].requires_grad_()
        outs = [self.module(leaf)[0], *(self.module(wear(leaf))[0] for wear in self.wears)]
        self.seen = [out.detach().numpy() for out in outs]
        gradient = np.zeros(0)
        if wanted is not None:
            total = sum(out @ torch.from_numpy(wanted(z)) for out, z in zip(outs, self.seen, strict=True))
            (slope,) = torch.autograd.grad(total / len(outs), leaf)
            gradient = slope[0].numpy() * (1 if self.mask is None else self.mask)
        return self.seen[0], gradient

    def worst(self, measure: Callable[[Array], float]) -> float:
        """Of a number that is to rise, over what was just seen."""
        return min(measure(z) for z in self.seen)

    def show(self, x: Array, wanted: Callable[[Array], Array] | None = None) -> tuple[Array, Array]:
        """The same; the picture counts as a try."""
        self.shown.append(x.copy())
        logits, gradient = self.look(x, wanted)
        lead, far = self.worst(self.ahead), size(x - self.x, self.norm)
        if far <= self.eps * (1 + 1e-5) + 1e-6:
            if lead >= 0 and far < self.distance:
                self.best, self.distance, self.lead = x, far, lead
            elif lead < 0 and not self.fooled and lead > self.lead:
                self.best, self.lead = x, lead
        return logits, gradient

    def ask(self, x: Array) -> float:
        self.show(x)
        return self.worst(self.ahead)

    def aim(self, z: Array) -> int:
        return best_of(z, {self.label}) if self.target is None else self.target

    def ahead(self, z: Array) -> float:
        """How far the class aimed at is before the next one, less a thousandth of a logit."""
        aim = self.aim(z)
        return float(z[aim] - z[best_of(z, {aim})] - SLACK)

    def in_box(self, x: Array) -> Array:
        inside = np.minimum(np.maximum(x, 0), 1)
        return inside if self.mask is None else np.where(self.mask > 0, inside, self.x)

    def in_ball(self, x: Array) -> Array:
        return self.in_box(self.x + nearest(x - self.x, self.norm, self.eps))

    # Factors on the logits: the derivatives of what is to rise.

    def likelihood(self, z: Array) -> Array:
        """Of log p(target), or of -log p(label)."""
        chances = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        return chances - one(z, self.label) if self.target is None else one(z, self.target) - chances

    def gap(self, z: Array) -> Array:
        aim = self.aim(z)
        return one(z, aim) - one(z, best_of(z, {aim}))

    def single(self, z: Array) -> Array:
        return -one(z, self.label) if self.target is None else one(z, self.target)

    def ratio(self, z: Array) -> float:
        """DLR, Croce and Hein (2020), equations 6 and 7, with the sign turned for the targeted one."""
        order = np.argsort(-z)
        if self.target is None:
            return float((z[self.aim(z)] - z[self.label]) / (z[order[0]] - z[order[2]]))
        return float((z[self.target] - z[self.label]) / (z[order[0]] - (z[order[2]] + z[order[3]]) / 2))

    def ratio_slope(self, z: Array) -> Array:
        order = np.argsort(-z)
        above, first = one(z, self.aim(z)) - one(z, self.label), one(z, order[0])
        rest = one(z, order[2]) if self.target is None else (one(z, order[2]) + one(z, order[3])) / 2
        below = float((first - rest) @ z)
        return above / below - float(above @ z) * (first - rest) / below**2


def one(z: Array, index: int) -> Array:
    return np.eye(len(z))[index]


def best_of(z: Array, but: set[int]) -> int:
    return max((k for k in range(len(z)) if k not in but), key=lambda k: z[k])


def size(change: Array, norm: str) -> float:
    if norm == "l0":
        return float((change != 0).any(0).sum())
    return float({"linf": np.abs(change).max(), "l2": math.sqrt((change**2).sum()), "l1": np.abs(change).sum()}[norm])


def dual_size(gradient: Array, norm: str) -> float:
    """Hölder's other norm; for L0, what one pixel can do with all its channels."""
    if norm == "l0":
        return float(np.abs(gradient).sum(0).max())
    return size(gradient, {"linf": "l1", "l2": "l2", "l1": "linf"}[norm])


def steep(gradient: Array, norm: str) -> Array:
    """L1: the 1 % of values with the largest gradient share the step (Tramèr and Boneh 2019, k-sparse)."""
    if norm == "linf":
        return np.sign(gradient)
    if norm == "l1":
        chosen = np.argsort(-np.abs(gradient), axis=None)[: round(0.01 * gradient.size)]
        step = np.zeros(gradient.size)
        step[chosen] = np.sign(gradient.ravel()[chosen]) / len(chosen)
        return step.reshape(gradient.shape)
    return gradient / max(size(gradient, "l2"), 1e-12)


def nearest(change: Array, norm: str, radius: float) -> Array:
    """In the ball. L1: soft thresholding at a level that is found by bisection; L0: the strongest pixels."""
    if norm == "linf":
        return np.clip(change, -radius, radius)
    if norm == "l2":
        return change * min(1.0, radius / max(size(change, "l2"), 1e-12))
    if norm == "l0":
        strongest = np.argsort(-(change**2).sum(0), axis=None)[: max(0, math.ceil(min(radius, change[0].size)))]
        kept = np.isin(np.arange(change[0].size), strongest).reshape(change.shape[1:])
        return np.where(kept, change, 0)
    if size(change, "l1") <= radius:
        return change
    low, high = 0.0, float(np.abs(change).max())
    for _ in range(80):
        middle = (low + high) / 2
        too_long = np.maximum(np.abs(change) - middle, 0).sum() > radius
        low, high = (middle, high) if too_long else (low, middle)
    return np.sign(change) * np.maximum(np.abs(change) - high, 0)


def falling(done: int, steps: int, first: float, last: float) -> float:
    """Cosine annealing (Loshchilov and Hutter 2017, equation 5)."""
    return last + 0.5 * (first - last) * (1 + math.cos(done / steps * math.pi))


def ascent(case: Case, steps: int) -> Rounds:
    """CS231n: x + g / |g| with steps of a quarter in [0, 1]; a picture that is fooled stands still."""
    x = case.x
    for _ in range(steps):
        if (yield):
            break
        _, gradient = case.show(x, case.single)
        x = x if case.fooled else case.in_box(x + 0.25 * steep(gradient, "l2"))
    case.ask(x)


def fgsm(case: Case) -> None:
    """Goodfellow et al., section 4."""
    _, gradient = case.show(case.x, case.likelihood)
    case.ask(case.in_box(case.x + case.eps * steep(gradient, case.norm)))


def walk(case: Case, steps: int, start: Array | None = None, momentum: bool = False) -> None:
    """Kurakin et al., section 2.2; Dong et al., algorithm 1 (decay 1); steps of 2.5 eps / steps as Madry et al."""
    x, total = case.x if start is None else start, np.zeros_like(case.x)
    for _ in range(steps):
        if case.fooled:
            return
        _, gradient = case.show(x, case.likelihood)
        if momentum:
            total = gradient = total + gradient / np.abs(gradient).sum()
        x = case.in_ball(x + 2.5 * case.eps / max(steps, 3) * steep(gradient, case.norm))
    if not case.fooled:
        case.ask(x)


def anywhere(case: Case, generator: torch.Generator) -> Array:
    """A start: uniform in the cube; else a direction of the normal distribution, and a uniform length."""
    if case.norm == "linf":
        return case.in_box(case.x + case.eps * (2 * torch.rand(case.x.shape, generator=generator).numpy() - 1.0))
    noise = torch.randn(case.x.shape, generator=generator).double().numpy()
    share = float(torch.rand((), generator=generator))
    return case.in_ball(case.x + share * case.eps * noise / size(noise, case.norm))


def pgd(case: Case, steps: int, restarts: int) -> None:
    """Madry et al., section 2.1."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(1 + restarts):
        walk(case, steps, anywhere(case, generator))


def apgd(case: Case, steps: int, restarts: int) -> Rounds:
    """Croce and Hein, algorithm 1, with the checkpoints of section 3.2."""
    generator = torch.Generator().manual_seed(0)
    ends = (22, 41, 57, 70, 80, 87, 93, 99)  # in percent; pieces of 22, 19, 16, 13, 10, 7, 6, 6
    checkpoints = [math.ceil(end * steps / 100) for end in ends]
    for _ in range(1 + restarts):
        xs = [anywhere(case, generator)]
        _, gradient = case.show(xs[0], case.ratio_slope)
        values, eta = [case.worst(case.ratio)], 2 * case.eps
        top = (values[0], xs[0], gradient)
        at_checkpoint = (eta, top[0])
        before, last = xs[0], 0
        for k in range(1, steps):
            if (yield):
                break
            leap = case.in_ball(xs[-1] + eta * steep(gradient, case.norm))
            x = leap if k == 1 else case.in_ball(xs[-1] + 0.75 * (leap - xs[-1]) + 0.25 * (xs[-1] - before))
            before = xs[-1]
            _, gradient = case.show(x, case.ratio_slope)
            xs.append(x)
            values.append(case.worst(case.ratio))
            top = max(top, (values[-1], x, gradient), key=lambda one: one[0])
            if k in checkpoints:
                rises = sum(values[i + 1] > values[i] for i in range(last, k))
                first, second = rises < 0.75 * (k - last), at_checkpoint == (eta, top[0])
                at_checkpoint, last = (eta, top[0]), k
                if first or second:
                    eta /= 2
                    values[-1], xs[-1], gradient = top


def square(case: Case, steps: int, restarts: int) -> Rounds:
    """Andriushchenko et al., algorithms 1 and 2; half the area after 10, 50, 200, … of 10,000 queries."""
    generator = torch.Generator().manual_seed(0)

    def signs(*shape: int) -> Array:
        return 2.0 * torch.randint(2, shape, generator=generator).numpy() - 1

    height, width = case.x.shape[1:]
    for _ in range(1 + restarts):
        best = case.in_box(case.x + case.eps * signs(1, 3, 1, width)[0])
        lead = case.ask(best)
        for done in range(steps - 1):
            if (yield):
                break
            halvings = sum(10000 * done > mark * steps for mark in (10, 50, 200, 1000, 2000, 4000, 6000, 8000))
            side = max(1, round(math.sqrt(0.8 * 0.5**halvings * height * width)))
            side = min(side, height, width)
            top = int(torch.randint(height - side + 1, (), generator=generator))
            left = int(torch.randint(width - side + 1, (), generator=generator))
            colour = signs(1, 3, 1, 1)[0, :, 0, 0]
            if case.fooled:
                continue
            tried = best.copy()
            for tried_plane, plane, sign in zip(tried, case.x, colour, strict=True):
                tried_plane[top:, left:][:side, :side] = plane[top:, left:][:side, :side] + case.eps * sign
            tried = case.in_box(tried)
            now = case.ask(tried)
            if now > lead:
                best, lead = tried, now


def ddn(case: Case, steps: int) -> None:
    """Rony et al. (2019), algorithm 1: gamma 0.05, the step from 1 to 0.01 along a cosine, the first radius 1."""
    change, radius = np.zeros_like(case.x), 1.0
    most = size(np.maximum(case.x, 1 - case.x), "l2")
    for k in range(steps):
        _, gradient = case.show(case.x + change, case.likelihood)
        change = change + falling(k, steps, 1, 0.01) * steep(gradient, "l2")
        radius = min(most, radius * (0.95 if case.worst(case.ahead) >= 0 else 1.05))
        change = case.in_box(case.x + radius * steep(change, "l2")) - case.x
    case.ask(case.x + change)


def fmn(case: Case, steps: int) -> None:
    """Pintor et al., algorithm 1: gamma from 0.05 to 0.001, the step from 1 to 0.01, both along a cosine."""
    change, radius, norm = np.zeros_like(case.x), math.inf, case.norm
    most = size(np.maximum(case.x, 1 - case.x), norm)
    for k in range(steps):
        _, gradient = case.show(case.x + change, case.gap)
        gamma, lead = falling(k, steps, 0.05, 0.001), case.worst(case.ahead)
        if lead >= 0:
            radius = min(radius * (1 - gamma), case.distance, radius - 1 if norm == "l0" else math.inf)
        elif case.fooled:
            radius = max(radius * (1 + gamma), math.floor(radius) + 1 if norm == "l0" else 0)
        else:
            radius = size(change, norm) + abs(lead) / dual_size(gradient, norm)
            radius = math.ceil(radius) if norm == "l0" else radius
        radius = min(max(radius, 0), most)
        change = nearest(change + falling(k, steps, 1, 0.01) * steep(gradient, "l2"), norm, radius)
        change = case.in_box(case.x + change) - case.x
    case.ask(case.x + change)


def alma(case: Case, steps: int) -> None:
    """Rony et al. (2021), algorithm 1 for L2: M = 10, gamma 1.2, tau 0.95; the slope of penalty P2 by hand."""
    change, drift, squares = np.zeros_like(case.x), np.zeros_like(case.x), 1.0
    mu = rho = 1.0

    def spread(z: Array) -> float:
        return float(z.max() - np.sort(z)[(len(z) - 1) // 2])

    for k in range(steps):
        _, gradient = case.show(case.x + change, lambda z: case.gap(z) / spread(z))
        missing = -case.worst(lambda z: case.ahead(z) / spread(z))
        if k == 0:
            checked = missing
        elif k % 10 == 0:
            rho *= 1.2 if not case.fooled and missing > 0 and missing > 0.95 * checked else 1
            checked = missing
        if missing >= 0:
            slope = mu + 2 * mu * rho * missing + rho**2 * missing**2 / 2
        else:
            slope = mu / (1 - rho * missing) ** 2
        mu = min(max(0.9 * mu + 0.1 * slope, 1e-6), 1)
        downhill = 2 * change - slope * gradient
        if k == 0:
            rate, squares = min(1, abs(missing) / size(gradient, "l2")), size(downhill, "l2") ** 2
        squares = 0.99 * squares + 0.01 * size(downhill, "l2") ** 2
        drift = 0.9 * drift + 0.1 * downhill / math.sqrt(squares)
        change = case.in_box(case.x + change - rate * 0.01 ** (k / steps) * drift) - case.x
    case.ask(case.x + change)


def carlini_wagner(case: Case, steps: int) -> None:
    """Carlini and Wagner, sections V.B and VI: tanh, five values of c from 0.1 on, Adam (0.9, 0.999)."""
    start, c, low, high = np.arctanh((2 * case.x - 1) * (1 - 1e-6)), 0.1, 0.0, math.inf
    for _ in range(5):
        w, first, second, reached = start.copy(), np.zeros_like(start), np.zeros_like(start), False
        for k in range(steps // 5):
            x = (np.tanh(w) + 1) / 2
            _, gradient = case.show(case.in_box(x), lambda z: case.gap(z) * (case.ahead(z) <= 0))
            reached |= case.worst(case.ahead) >= 0
            slope = (2 * (x - case.x) - c * gradient) * (1 - np.tanh(w) ** 2) / 2
            first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
            unbiased = first / (1 - 0.9 ** (k + 1)), second / (1 - 0.999 ** (k + 1))
            w = w - falling(k, steps // 5, 0.05, 0.0005) * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
        low, high = (low, min(high, c)) if reached else (max(low, c), high)
        c = 10 * c if math.isinf(high) else (low + high) / 2


def deepfool(case: Case, steps: int) -> Rounds:
    """Moosavi-Dezfooli et al. (2016), algorithm 2: overshoot 0.02, the ten likeliest classes; a hair (1e-4) further."""
    z = case.show(case.x)[0]
    rivals = sorted((k for k in range(len(z)) if k != case.label), key=lambda k: -z[k])[:10]
    change = np.zeros_like(case.x)
    for _ in range(steps):
        if (yield):
            break
        if case.fooled:
            continue
        tried = case.in_box(case.x + 1.02 * change)
        if case.target is None:
            slopes = [case.look(tried, lambda z, k=k: one(z, k) - one(z, case.label))[1] for k in rivals]
            z = case.show(tried)[0]
            gaps = [abs(z[k] - z[case.label]) for k in rivals]
        else:
            z, gradient = case.show(tried, case.gap)
            slopes, gaps = [gradient], [abs(case.ahead(z))]
        gap, slope = min(zip(gaps, slopes, strict=True), key=lambda border: border[0] / dual_size(border[1], case.norm))
        step = (gap + 1e-4) / dual_size(slope, case.norm) * steep(slope, case.norm)
        change = case.in_box(case.x + change + step) - case.x
    case.ask(case.in_box(case.x + 1.02 * change))
