"""How a run spends its steps and its time: on a loss with a known minimum, with a clock that the test turns."""

import json
from dataclasses import replace

import pytest
import torch

from cvtool.errors import BadInputError, CvtoolError
from cvtool.stylize import run as run_module
from cvtool.stylize.options import Optimizer
from cvtool.stylize.pyramid import Scale
from cvtool.stylize.recipes import RecipeSpec
from cvtool.stylize.run import Listeners, Run, Snapshot
from cvtool.stylize.snapshots import read_snapshot, write_snapshot

RECIPE = RecipeSpec(terms="moments", rate=0.05, smallest=8)
SCALES = (Scale(8, 8, 120), Scale(16, 16, 100), Scale(32, 32, 80))


class Clock:
    """Seconds that pass only when a step is taken."""

    def __init__(self, seconds_per_pixel):
        self.now, self.rate = 0.0, seconds_per_pixel

    def monotonic(self):
        return self.now


class Bowl:
    """``mean (x − 0.3)²``; takes time on the clock, as many seconds as it has pixels times the rate."""

    def __init__(self, clock=None):
        self.clock = clock

    def __call__(self, picture):
        if self.clock is not None:
            self.clock.now += picture.shape[2] * picture.shape[3] * self.clock.rate
        loss = (picture - 0.3).square().mean()
        return {"loss": loss, "style": loss, "content": loss, "tv": loss}


def new_run(clock=None, plan=SCALES, recipe=RECIPE, **more):
    start = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return Run(recipe, Optimizer.adam, plan, start, lambda scale: Bowl(clock), **more)


@pytest.mark.parametrize("share", [0.3, 1.0, 3.0, 20.0])
def test_a_budget_is_met_within_15_percent(monkeypatch, share):
    """From a third of the time the plan would take to twenty times that."""
    clock = Clock(1e-5)
    monkeypatch.setattr(run_module, "time", clock)
    full = sum(s.steps * s.pixels for s in SCALES) * clock.rate
    run = new_run(clock, budget=share * full, may_end_early=False)
    run.run(Listeners())
    assert clock.now == pytest.approx(share * full, rel=0.15)
    assert run.stopped_by == "budget"
    assert run.plan[-1].steps >= 12


def test_a_budget_too_small_for_anything_ends_soon(monkeypatch):
    clock = Clock(1e-3)
    monkeypatch.setattr(run_module, "time", clock)
    run = new_run(clock, budget=0.01)
    run.run(Listeners())
    assert sum(scale.steps for scale in run.plan) <= 4


def test_a_flat_loss_ends_a_scale():
    run = new_run(plan=(Scale(8, 8, 5000),))
    run.run(Listeners())
    assert run.stopped_by == "plateau"
    assert 60 <= run.plan[0].steps < 5000
    torch.testing.assert_close(run.result(), torch.full((1, 3, 8, 8), 0.3), atol=0.01, rtol=0)


def test_named_steps_are_taken_even_when_flat():
    run = new_run(plan=(Scale(8, 8, 500),), may_end_early=False)
    run.run(Listeners())
    assert (run.stopped_by, run.plan[0].steps) == ("steps", 500)


def test_scales_without_steps_are_passed_over():
    steps = []
    run = new_run(plan=(Scale(8, 8, 5), Scale(16, 16, 0), Scale(32, 32, 5)))
    run.run(Listeners(progress=steps.append))
    assert [(s.stage, s.done, s.total) for s in steps] == [("8×8", 5, 5), ("32×32", 5, 5)]
    assert run.result().shape == (1, 3, 32, 32)


def test_a_loss_that_is_no_number_is_one_clear_error():
    def broken(picture):
        return {"loss": picture.mean() * float("nan")}

    run = Run(RECIPE, Optimizer.adam, (Scale(8, 8, 9),), torch.rand(1, 3, 8, 8), lambda scale: broken)
    with pytest.raises(CvtoolError, match="no longer a number"):
        run.run(Listeners())


def test_a_snapshot_survives_its_file(tmp_path):
    kept = []
    run = new_run(plan=(Scale(8, 8, 30), Scale(16, 16, 10)), may_end_early=False)
    run.run(Listeners(keep=kept.append))
    write_snapshot(tmp_path / "state.safetensors", kept[0])
    again = read_snapshot(tmp_path / "state.safetensors")
    resumed = new_run(plan=(Scale(8, 8, 30), Scale(16, 16, 10)), may_end_early=False)
    resumed.restore(Snapshot(again.facts, again.tensors))
    resumed.run(Listeners())
    torch.testing.assert_close(resumed.result(), run.result(), atol=0, rtol=0)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_broken_snapshots_are_refused(tmp_path, keep):
    kept = []
    new_run(plan=(Scale(8, 8, 5),)).run(Listeners(keep=kept.append))
    path = tmp_path / "state.safetensors"
    write_snapshot(path, kept[0])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadInputError, match=r"state\.safetensors"):
        read_snapshot(path)


BROKEN = {
    "no tree": lambda facts, tensors: facts.pop("tree"),
    "a tree that is a list": lambda facts, tensors: facts.update(tree=[1]),
    "a tree of nothing": lambda facts, tensors: facts.update(tree={}),
    "a place beyond the plan": lambda facts, tensors: facts.update(index=10**12),
    "a place before the plan": lambda facts, tensors: facts.update(index=-1),
    "a place that is a text": lambda facts, tensors: facts.update(index="x"),
    "a place without end": lambda facts, tensors: facts.update(index=float("inf")),
    "more steps than there are": lambda facts, tensors: facts.update(done=31),
    "steps before the first": lambda facts, tensors: facts.update(done=-1),
    "steps of another plan": lambda facts, tensors: facts.update(steps=[30]),
    "fewer steps than none": lambda facts, tensors: facts.update(steps=[30, -5]),
    "steps that are none": lambda facts, tensors: facts.update(steps=["a", "b"]),
    "terms that are a list": lambda facts, tensors: facts.update(terms=[1]),
    "terms that are texts": lambda facts, tensors: facts.update(terms={"loss": "x"}),
    "a history that is a number": lambda facts, tensors: facts.update(history=3),
    "a history of objects": lambda facts, tensors: facts.update(history=[{}]),
    "a time that is none": lambda facts, tensors: facts.update(spent=None),
    "no tensors": lambda facts, tensors: tensors.clear(),
    "a picture of another size": lambda facts, tensors: tensors.update({"run.picture": torch.zeros(1, 3, 9, 8)}),
    "a picture of no numbers": lambda facts, tensors: tensors["run.picture"].fill_(float("nan")),
    "the memory of another size": lambda facts, tensors: tensors.update({"run.optimizer.0.exp_avg": torch.zeros(9)}),
    "a memory that is less": lambda facts, tensors: facts["tree"]["dict"][1][1]["dict"][0][1]["dict"].pop(),
    "a memory from before time": lambda facts, tensors: tensors["run.optimizer.0.step"].fill_(-1),
    "a memory that is a list": lambda facts, tensors: facts["tree"]["dict"].__setitem__(1, ["optimizer", {"list": []}]),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_snapshot_whose_parts_do_not_fit_is_refused(how):
    kept = []
    plan = (Scale(8, 8, 30), Scale(16, 16, 10))
    new_run(plan=plan, may_end_early=False).run(Listeners(keep=kept.append))
    facts, tensors = json.loads(json.dumps(kept[0].facts)), {name: t.clone() for name, t in kept[0].tensors.items()}
    new_run(plan=plan).restore(kept[0])
    BROKEN[how](facts, tensors)
    with pytest.raises(BadInputError, match="checkpoint is broken"):
        new_run(plan=plan).restore(Snapshot(facts, tensors))


@pytest.mark.parametrize("average", [torch.zeros(1), torch.full((1, 3, 8, 8), float("nan")), None])
def test_a_snapshot_whose_average_does_not_fit_is_refused(average):
    """It has another size, no numbers, or the recipe has none."""
    kept, recipe, plan = [], replace(RECIPE, average=0.9), (Scale(8, 8, 30),)
    new_run(recipe=recipe, plan=plan).run(Listeners(keep=kept.append))
    new_run(recipe=recipe, plan=plan).restore(kept[0])
    other = replace(recipe, average=0.0 if average is None else 0.9)
    tensors = {**kept[0].tensors, **({} if average is None else {"run.average.0": average})}
    with pytest.raises(BadInputError, match="checkpoint is broken"):
        new_run(recipe=other, plan=plan).restore(Snapshot(kept[0].facts, tensors))


def test_weights_are_no_snapshot(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(BadInputError, match="not a checkpoint of stylize"):
        read_snapshot(tmp_path / "weights.safetensors")


LATE = replace(RECIPE, rate=0.5, late_rate=0.02, late_from=0.9, smallest=None)


def late_run(steps, clock=None, start=None, optimizer=Optimizer.adam, **more):
    """One scale of a recipe that ends at a lower rate."""
    start = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) if start is None else start
    return Run(LATE, optimizer, (Scale(32, 32, steps),), start, lambda scale: Bowl(clock), **more)


def by_the_course(steps, at):
    """Its loop: at step `at`, counted from 0, a new Adam at the lower rate."""
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    optimizer = torch.optim.Adam([x], lr=0.5, betas=LATE.betas)
    for step in range(steps):
        if step == at:
            optimizer = torch.optim.Adam([x], lr=0.02, betas=LATE.betas)
        optimizer.zero_grad()
        (x - 0.3).square().mean().backward()
        optimizer.step()
        with torch.no_grad():
            x.clamp_(0, 1)
    return x.detach()


@pytest.mark.parametrize(("steps", "at"), [(200, 180), (40, 36), (15, 13), (2, 1), (1, 0)])
def test_the_last_tenth_has_an_adam_of_its_own(steps, at):
    run = late_run(steps, may_end_early=False)
    run.run(Listeners())
    # On the mean: near the minimum rounding decides which way a pixel goes.
    assert float((run.result() - by_the_course(steps, at)).abs().mean()) < 1e-4


def test_no_plateau_comes_before_the_last_tenth():
    """The minimum lies outside of what a pixel can be, and is as near as can be from the start."""
    run = late_run(200, start=torch.zeros(1, 3, 32, 32))
    run.objective = lambda scale: lambda picture: {"loss": (picture + 1).square().mean()}
    run.run(Listeners())
    assert (run.stopped_by, run.plan[0].steps) == ("steps", 200)


@pytest.mark.parametrize("share", [0.2, 0.5, 2.0])
def test_a_budget_leaves_time_for_the_last_tenth(monkeypatch, share):
    clock = Clock(1e-5)
    monkeypatch.setattr(run_module, "time", clock)
    run, kept = late_run(200, clock, budget=share * 200 * 32 * 32 * clock.rate, may_end_early=False), []
    run.run(Listeners(keep=kept.append))
    steps, late = run.plan[0].steps, run._optimizer.state[run.picture]["step"].item()
    assert steps == pytest.approx(share * 200, rel=0.05)
    assert late / steps == pytest.approx(0.1, abs=0.03)
    assert kept[-1].facts["is_late"]


@pytest.mark.parametrize("at", [35, 36, 37, 39])
def test_a_run_goes_on_to_the_same_end_around_the_change(at):
    whole = late_run(40, may_end_early=False)
    whole.run(Listeners())
    asked, kept = iter(range(40)), []
    late_run(40, may_end_early=False).run(Listeners(stop=lambda: next(asked) == at, keep=kept.append))
    assert kept[-1].facts["done"] == at
    resumed = late_run(40, may_end_early=False)
    resumed.restore(kept[-1])
    resumed.run(Listeners())
    assert torch.equal(resumed.result(), whole.result())


def test_each_scale_begins_at_the_full_rate():
    run, kept = late_run(10, may_end_early=False), []
    run.plan = (Scale(16, 16, 10), Scale(32, 32, 20))
    run.run(Listeners(keep=kept.append, stop=lambda: run.index == 1 and run.done == 5))
    assert [(s.facts["index"], s.facts["done"], s.facts["is_late"]) for s in kept] == [(0, 10, True), (1, 5, False)]
    assert run._optimizer.param_groups[0]["lr"] == LATE.rate


def test_a_quasi_newton_step_keeps_its_own_length():
    run = late_run(20, optimizer=Optimizer.lbfgs, may_end_early=False)
    run.run(Listeners())
    assert run._optimizer.param_groups[0]["lr"] == 1.0
