"""Every attack shows the network what its slow twin shows it, picture by picture; the parts, against their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
import twins
import twins_of_pixels
from torch import Tensor, nn
from twins import Case, Rounds
from watching import SEED, Watched, cases_of, pictures, watched

from cvtool.fool.attacks import ATTACKS
from cvtool.fool.attacks.patch import Placement, put
from cvtool.fool.options import Method, Norm


def run_together(cases: list[Case], twin: Callable[..., Rounds | None], *given: object) -> None:
    """Twins, round by round, until all pictures are fooled."""
    running = [run for run in (twin(case, *given) for case in cases) if run is not None]
    for run in running:
        next(run)
    while running:
        over = all(case.fooled for case in cases)
        running = [run for run in running if goes_on(run, over)]


def goes_on(run: Rounds, over: bool) -> bool:
    try:
        run.send(over)
    except StopIteration:
        return False
    return True


def compare(problem: Watched, cases: list[Case]) -> None:
    """The same pictures in the same order, and of them the same are the best."""
    for row, case in enumerate(cases):
        found = problem.shown[row]
        assert len(found) == len(case.shown)
        for number, (one, other) in enumerate(zip(found, case.shown, strict=True)):
            np.testing.assert_allclose(one, other, atol=1e-5, err_msg=f"picture {row}, try {number}")
        np.testing.assert_allclose(problem.best.picture[row], case.best, atol=1e-5)
        assert bool(problem.best.found[row]) == case.fooled


@dataclass(frozen=True)
class Trial:
    """An attack, its twin, and what both are given."""

    method: Method
    norm: Norm
    steps: int
    eps: float = math.inf
    given: tuple[object, ...] = ()
    more: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method.value}-{self.norm.value}-{self.steps}-{self.eps:g}"


NARROW = {Norm.linf: 0.005, Norm.l2: 0.15, Norm.l1: 4.0}
WIDE = {Norm.linf: 0.05, Norm.l2: 1.5, Norm.l1: 60.0}
"""Within these nearly none, and nearly all, are fooled."""


def bounded(method: Method, steps: int, *given: object, norms: tuple[Norm, ...], **more: object) -> list[Trial]:
    return [Trial(method, norm, steps, eps[norm], given, more) for norm in norms for eps in (NARROW, WIDE)]


BOTH, BALLS = (Norm.linf, Norm.l2), (Norm.linf, Norm.l2, Norm.l1)
TRIALS = [
    *bounded(Method.fgsm, 1, norms=BOTH),
    *bounded(Method.bim, 10, 10, norms=BALLS),
    *bounded(Method.bim, 2, 2, norms=(Norm.linf,)),
    *bounded(Method.mi_fgsm, 10, 10, None, True, norms=BALLS),
    *bounded(Method.pgd, 6, 6, 1, norms=BALLS, restarts=1),
    *bounded(Method.apgd, 40, 40, 1, norms=BOTH, restarts=1),
    *bounded(Method.square, 60, 60, 1, norms=(Norm.linf,), restarts=1),
    Trial(Method.ascent, Norm.l2, 12, given=(12,)),
    Trial(Method.ddn, Norm.l2, 30, given=(30,)),
    *(Trial(Method.fmn, norm, 30, given=(30,)) for norm in (Norm.l2, Norm.linf, Norm.l1, Norm.l0)),
    Trial(Method.alma, Norm.l2, 45, given=(45,)),
    Trial(Method.cw, Norm.l2, 40, given=(40,)),
    *(Trial(Method.deepfool, norm, 6, given=(6,)) for norm in BOTH),
    Trial(Method.jsma, Norm.l0, 30, given=(30,)),
    Trial(Method.patch, Norm.l0, 12, given=(12, 0.3)),
]
TWINS = {"bim": twins.walk, "mi-fgsm": twins.walk, "cw": twins.carlini_wagner}


def twin_of(name: str):
    """Of an attack, where it does not need more than a case and numbers."""
    return TWINS.get(name) or getattr(twins, name, None) or getattr(twins_of_pixels, name)


@pytest.mark.parametrize("aimed", [False, True])
@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_it_shows_what_its_twin_shows(bumpy, trial, aimed):
    problem = watched(
        bumpy, pictures(3), trial.method, norm=trial.norm, eps=trial.eps, steps=trial.steps, aimed=aimed, **trial.more
    )
    assert_twins(problem, twin_of(trial.method.value), *trial.given)


def softer(x: Tensor) -> Tensor:
    return (x + nn.functional.avg_pool2d(x, 3, 1, 1)) / 2


WEARS = (lambda x: 0.8 * x, softer)
WORN = (Method.apgd, Method.ddn, Method.fmn, Method.alma, Method.cw)


@pytest.mark.parametrize("aimed", [False, True])
@pytest.mark.parametrize("trial", [trial for trial in TRIALS if trial.method in WORN], ids=str)
def test_of_worn_pictures_the_worst_counts(bumpy, trial, aimed):
    problem = watched(
        bumpy, pictures(3), trial.method, norm=trial.norm, eps=trial.eps, steps=trial.steps, aimed=aimed, **trial.more
    )
    assert_twins(replace(problem, survive=WEARS), twin_of(trial.method.value), *trial.given)


@pytest.mark.parametrize("aimed", [False, True])
@pytest.mark.parametrize("method", [Method.ddn, Method.fmn, Method.alma, Method.cw, Method.deepfool])
def test_also_where_all_borders_are_planes(linear, method, aimed):
    problem = watched(linear, pictures(2), method, norm=Norm.l2, eps=math.inf, steps=20, aimed=aimed)
    assert_twins(problem, twin_of(method.value), 20)


def assert_twins(problem: Watched, twin: Callable[..., Rounds | None], *given: object) -> None:
    ATTACKS[problem.options.method].run(problem)
    cases = cases_of(problem)
    run_together(cases, twin, *given)
    compare(problem, cases)


def test_the_area_of_squares_is_halved_eight_times(bumpy):
    problem = watched(bumpy, pictures(1), Method.square, norm=Norm.linf, eps=1e-3, steps=1000, aimed=True)
    assert_twins(problem, twins.square, 1000, 0)


def test_deepfool_measures_ten_borders(make_victim, linear):
    victim = make_victim(type(linear.model.module)(14), 14)
    problem = watched(victim, pictures(2), Method.deepfool, norm=Norm.l2, eps=math.inf, steps=4, aimed=False)
    assert_twins(problem, twins.deepfool, 4)


def test_jsma_changes_more_pixels_at_a_time_in_a_larger_picture(make_victim, bumpy):
    large = make_victim(nn.Sequential(nn.AvgPool2d(5), bumpy.model.module), 6, side=120)
    problem = watched(large, pictures(1, 120), Method.jsma, norm=Norm.l0, eps=math.inf, steps=6, aimed=False)
    assert_twins(problem, twins_of_pixels.jsma, 6)


class Middle(nn.Module):
    """What is in the middle, 24 × 24."""

    def forward(self, x: Tensor) -> Tensor:
        top, left = ((side - 24) // 2 for side in x.shape[2:])
        return x[:, :, top : top + 24, left : left + 24]


@pytest.mark.parametrize(("height", "width"), [(24, 31), (33, 24)])
@pytest.mark.parametrize("method", [Method.square, Method.patch, Method.jsma, Method.pgd])
def test_pictures_may_be_wide_or_tall(make_victim, bumpy, method, height, width):
    victim = make_victim(nn.Sequential(Middle(), bumpy.model.module), 6)
    ball = method in (Method.square, Method.pgd)
    norm, eps = (Norm.linf, NARROW[Norm.linf]) if ball else (Norm.l0, math.inf)
    problem = watched(victim, pictures(2, height, width), method, norm=norm, eps=eps, steps=12, aimed=False, patch=0.4)
    given = {Method.patch: (0.4,), Method.jsma: ()}.get(method, (0,))
    assert_twins(problem, twin_of(method.value), 12, *given)


def with_mask(problem: Watched) -> Watched:
    """The upper left corner stays as it is."""
    mask = torch.ones_like(problem.x[:, :1])
    mask[:, :, :9, :12] = 0
    return replace(problem, mask=mask)


@pytest.mark.parametrize("worn", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_boundary_shows_what_its_twin_shows(bumpy, masked, worn):
    problem = watched(bumpy, pictures(2), Method.boundary, norm=Norm.l2, eps=math.inf, steps=3, aimed=False)
    problem = with_mask(problem) if masked else problem
    problem = replace(problem, survive=WEARS) if worn else problem
    ATTACKS[Method.boundary].run(problem)
    cases, generator = cases_of(problem), torch.Generator().manual_seed(SEED)
    for case in cases:
        twins_of_pixels.boundary(case, 3, generator)
    compare(problem, cases)


@pytest.mark.parametrize("method", [Method.alma, Method.cw, Method.fmn])
def test_few_free_pixels_make_it_slow(bumpy, method):
    """What the attacks do after failures: heavier penalties, larger radii."""
    problem = watched(bumpy, pictures(4), method, norm=Norm.l2, eps=math.inf, steps=60, aimed=True)
    mask = torch.zeros_like(problem.x[:, :1])
    for each, side in zip(mask, (2, 5, 8, 10), strict=True):
        each[:, 8 : 8 + side, 8 : 8 + side] = 1
    problem = replace(problem, mask=mask)
    assert_twins(problem, twin_of(method.value), 60)
    assert not problem.best.found.all()


def test_squares_are_never_of_no_pixels(make_victim):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
    problem = watched(
        make_victim(network, 5, side=8), pictures(1, 8), Method.square, norm=Norm.linf, eps=1e-5, steps=200, aimed=True
    )
    assert_twins(problem, twins.square, 200, 0)


class Fickle(nn.Module):
    """Sees class 1 in so many pictures, after the first, and class 0 from then on."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times, self.seen = times, 0

    def forward(self, x: Tensor) -> Tensor:
        number = self.seen + torch.arange(len(x))
        self.seen += len(x)
        score = torch.where((number > 0) & (number <= self.times), 1.0, -1.0).to(x)
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.mark.parametrize("times", [1 + 12 + 60, 1 + 12 + 100 + 1 + 12 + 141])
def test_boundary_gives_up_a_direction_that_leads_nowhere(make_victim, times):
    """Of a thousandth of the distance no step is tried; all of one opinion, the probes are not centred."""
    problem = watched(
        make_victim(Fickle(times), 2), pictures(1), Method.boundary, norm=Norm.l2, eps=math.inf, steps=3, aimed=False
    )
    ATTACKS[Method.boundary].run(problem)
    problem.model.module.seen = 1
    (case,) = cases_of(problem)
    twins_of_pixels.boundary(case, 3, torch.Generator().manual_seed(SEED))
    compare(problem, [case])


def test_boundary_starts_a_hundred_times_at_most(bumpy):
    """Where the mask lets nothing change, all starts are in vain."""
    problem = watched(bumpy, pictures(1), Method.boundary, norm=Norm.l2, eps=1e-3, steps=3, aimed=False)
    problem = replace(problem, mask=torch.zeros_like(problem.x[:, :1]))
    ATTACKS[Method.boundary].run(problem)
    assert len(problem.shown[0]) == 100


@pytest.mark.parametrize("method", [Method.pgd, Method.patch, Method.ddn])
def test_masks_hold_for_twins_too(bumpy, method):
    eps = NARROW[Norm.l2] if method is Method.pgd else math.inf
    norm = Norm.l0 if method is Method.patch else Norm.l2
    problem = with_mask(watched(bumpy, pictures(2), method, norm=norm, eps=eps, steps=8, aimed=False))
    given = {Method.pgd: (8, 0), Method.patch: (8, 0.3), Method.ddn: (8,)}[method]
    assert_twins(problem, twin_of(method.value), *given)


@pytest.mark.parametrize("aimed", [False, True])
@pytest.mark.parametrize(("norm", "eps"), [(Norm.linf, 0.01), (Norm.linf, 0.05), (Norm.l2, 0.3), (Norm.l2, 1.5)])
def test_universal_shows_what_its_twin_shows(bumpy, norm, eps, aimed):
    problem = watched(bumpy, pictures(5), Method.universal, norm=norm, eps=eps, steps=8, aimed=aimed, batch=2)
    ATTACKS[Method.universal].run(problem)
    cases = cases_of(problem)
    twins_of_pixels.universal(cases, 8, 2)
    compare(problem, cases)


def test_a_patch_that_holds_anywhere_shows_what_its_twin_shows(bumpy):
    def put_one(sticker: Tensor, x: Tensor, *where: float) -> Tensor:
        return put(sticker[None], x[None], Placement(*where))[0]

    problem = watched(
        bumpy, pictures(2), Method.patch, norm=Norm.l0, eps=math.inf, steps=6, aimed=True, patch_robust=True
    )
    assert_twins(problem, twins_of_pixels.patch, 6, 0.3, put_one)
