"""Runs on pictures of two kinds of bars: exact resume, going back, and that every loss learns."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from cvtool import replay
from cvtool.errors import CvtoolError, UsageError
from cvtool.gan.adversarial import Adversarial
from cvtool.gan.datasets import Pictures
from cvtool.gan.evaluation import Judge
from cvtool.gan.feeding import Feeder, likely_labels, to_pixels, to_signed
from cvtool.gan.game import Adam, Average
from cvtool.gan.networks import Shape, build
from cvtool.gan.options import RECIPES, Arch, Augment, Loss, NetworkOptions, Penalty, TrainOptions, completed
from cvtool.gan.training import RECOVERIES, Trainer, prepare, reference_pictures
from cvtool.gan.variational import Encoder, Variational, divergence, reconstruction
from cvtool.reference import gan as reference

CPU = torch.device("cpu")
SIZE = 8
FAST = TrainOptions(steps=12, every=4, batch=16, samples=100, precision="fp32")


class Pooled:
    """Features that need no network: means of 2 by 2 pixels."""

    name = "pooled"
    device = CPU

    def features(self, pictures, *, progress=None):
        n, h, w, c = pictures.shape
        return pictures.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4)).reshape(n, -1).astype(np.float32) / 255


def bars(count=400, seed=0):
    """Upright bars (class 0) and level ones (class 1) on black, at random places."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, 2, count)
    pixels = np.zeros((count, SIZE, SIZE, 1), np.uint8)
    for picture, label, place in zip(pixels, labels, chance.integers(0, SIZE - 1, count), strict=True):
        if label:
            picture[place : place + 2] = 230
        else:
            picture[:, place : place + 2] = 230
    return Pictures.of(pixels, labels, ("upright", "level"), "bars")


def trainer(options=FAST, data=None, device=CPU, **networks):
    data = data or bars()
    torch.manual_seed(options.seed)
    shape = Shape(SIZE, 1, len(data.classes))
    pair = [each.to(device) for each in build(NetworkOptions(**{"width": 8, "latent": 8, **networks}), shape)]
    game = (Variational if options.vae else Adversarial)(*pair, options)
    judge = Judge(reference_pictures(data, options), Pooled())
    return Trainer(game, Feeder(data, options.batch, options.seed, device), judge, options)


def same(one, other):
    """Whether two states are the same to the bit, the time apart."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one if "seconds" not in str(k))
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def ignore(check):
    pass


@pytest.mark.parametrize("more", [{}, {"vae": True}, {"loss": Loss.wgan_gp}, {"augment": Augment.diff}])
@pytest.mark.parametrize("after", [1, 4, 7])
def test_a_run_that_was_stopped_ends_with_the_same_bits(more, after):
    options = TrainOptions(**{**FAST.__dict__, **more})
    whole = trainer(options)
    assert whole.run(on_check=ignore)

    first = trainer(options)
    asked = 0

    def stop():
        nonlocal asked
        asked += 1
        return asked > after

    assert not first.run(on_check=ignore, stop=stop)
    state = copy.deepcopy(first.state())
    second = trainer(options)
    second.load_state(state)
    assert second.run(on_check=ignore)
    assert same(whole.state(), second.state())


@pytest.mark.gpu
@pytest.mark.parametrize(
    "more",
    [{}, {"vae": True}, {"loss": Loss.wgan_gp}, {"loss": Loss.wgan}, {"augment": Augment.diff}, {"precision": "bf16"}],
    ids=str,
)
def test_recorded_steps_are_the_steps(monkeypatch, more):
    """With and without penalties, and from a state that was kept."""
    options = TrainOptions(**{**FAST.__dict__, "lazy": 3, **more})
    found, never = [], 10**6
    for warm_up in (replay.WARM_UP, never):
        monkeypatch.setattr(replay, "WARM_UP", warm_up)
        run = trainer(options, device=torch.device("cuda"))
        for _ in range(20):
            run._step()
        middle = copy.deepcopy(run.game.state())
        for _ in range(5):
            run._step()
        run.game.load_state(middle)
        run.position.step -= 5
        for _ in range(5):
            run._step()
        games = [run.game._recorded] if options.vae else [*run.game._plays.values()]
        assert any(each._graph is not None for each in games) == (warm_up != never)
        found.append(run.game.state()["generator"])
    for name, ours in found[0].items():
        far = (ours.float() - found[1][name].float()).abs().max()
        assert far < (3e-2 if options.precision == "bf16" else 3e-3), name


def test_seeds():
    one, again, other = trainer(), trainer(), trainer(TrainOptions(**{**FAST.__dict__, "seed": 1}))
    for each in (one, again, other):
        each.run(on_check=ignore)
    assert same(one.state()["game"], again.state()["game"])
    assert not same(one.state()["game"]["generator"], other.state()["game"]["generator"])


@pytest.mark.parametrize("loss", list(Loss))
def test_every_loss_learns_bars(loss):
    """Within some dozens of quick steps the distance is three quarters of the untrained generator's."""
    steps = {Loss.wgan: 60, Loss.wgan_gp: 60, Loss.dragan: 300}.get(loss, 120)
    options = TrainOptions(
        loss=loss, steps=steps, every=20, batch=32, samples=200, precision="fp32", ema=0.9, fall=0, rate_g=5e-3,
        rate_d=5e-3, recover=False,
    )  # fmt: skip
    run, seen = trainer(options), []
    _, untrained = run._judged()
    run.run(on_check=seen.append)
    assert min(check.evaluation.fd for check in seen) < 0.75 * untrained.fd


def test_the_vae_learns_bars():
    options = TrainOptions(vae=True, steps=150, every=50, batch=32, samples=200, precision="fp32", ema=0.9)
    seen = []
    trainer(options).run(on_check=seen.append)
    assert seen[-1].facts["loss"] < 0.7 * seen[0].facts["loss"]


def test_checks_come_when_they_should_and_the_best_is_said():
    seen = []
    run = trainer(TrainOptions(**{**FAST.__dict__, "steps": 10}))
    run.run(on_check=seen.append)
    assert [check.step for check in seen] == [4, 8, 10]
    assert seen[0].is_best
    assert seen[0].grid.shape == (100, SIZE, SIZE, 1)
    assert run.position.best == min(check.evaluation.fd for check in seen)


class TestBudget:
    @pytest.fixture
    def clock(self, monkeypatch):
        """A step takes a hundredth of a second, a check a tenth, and nothing else takes time."""
        now = [0.0]

        def slow(owner, name, seconds):
            plain = getattr(owner, name)

            def timed(*arguments):
                now[0] += seconds
                return plain(*arguments)

            monkeypatch.setattr(owner, name, timed)

        slow(Average, "add", 0.01)
        slow(Judge, "evaluate", 0.1)
        monkeypatch.setattr("cvtool.gan.training.time.perf_counter", lambda: now[0])
        return now

    def budgeted(self, **more):
        options = TrainOptions(**{**FAST.__dict__, "steps": None, "every": None, "budget": 3.0, **more})
        run, seen = trainer(options), []
        run.run(on_check=seen.append)
        return run, seen

    def test_it_becomes_steps(self, clock):
        run, seen = self.budgeted()
        assert run.position.total == run.position.step
        assert 200 < run.position.total <= 300
        assert 1 <= len(seen) <= 11
        assert run.position.seconds == pytest.approx(3, abs=0.2)

    def test_the_same_number_of_steps_repeats_it(self, clock):
        run, _ = self.budgeted()
        more = {"steps": run.position.total, "every": run.position.every}
        again = trainer(TrainOptions(**{**FAST.__dict__, **more}))
        again.run(on_check=ignore)
        assert same(run.state()["game"], again.state()["game"])

    def test_a_run_that_is_cut_went_the_way_of_the_one_that_was_planned(self, clock, monkeypatch):
        plain, steps = Adversarial.step, []

        def ever_slower(self, number, *rest):
            steps.append(number)
            clock[0] += 0.05 * (number >= 100)
            return plain(self, number, *rest)

        monkeypatch.setattr(Adversarial, "step", ever_slower)
        run, seen = self.budgeted()
        assert run.position.cut
        assert run.position.step < run.position.total
        assert seen[-1].step == run.position.step
        assert run.position.seconds < 1.2 * 3
        assert run.run(on_check=seen.append), "it is over"
        more = {"steps": run.position.total, "every": run.position.every}
        again = trainer(TrainOptions(**{**FAST.__dict__, **more}))
        again.run(on_check=ignore, stop=lambda: again.position.step == run.position.step)
        assert same(run.state()["game"], again.state()["game"])

    def test_checks_that_were_asked_for_are_planned(self):
        run = trainer(TrainOptions(**{**FAST.__dict__, "steps": None, "every": 50, "budget": 100.0}))
        run._plan(0.1, 5.0)
        assert run.position.total == 500  # ten times 50 steps and a check of 5 s

    def test_slow_steps_end_the_probe(self, monkeypatch):
        now = itertools.count()
        monkeypatch.setattr("cvtool.gan.training.time.perf_counter", lambda: next(now))
        run, seen = self.budgeted(budget=20.0)
        assert run.position.step < 30
        assert seen


def spoil(run, *, at):
    """Let a run's weights become no numbers after some step, once."""
    step = run.game.step

    def spoiled(number, *rest):
        facts = step(number, *rest)
        if number in at:
            at.remove(number)
            with torch.no_grad():
                next(run.game.generator.parameters()).fill_(float("nan"))
        return facts

    run.game.step = spoiled


def test_a_run_that_breaks_goes_back_and_on_more_gently():
    run, seen = trainer(TrainOptions(**{**FAST.__dict__, "loss": Loss.bce})), []
    spoil(run, at=[5])
    assert run.run(on_check=seen.append)
    assert [check.trouble is None for check in seen] == [True, False, True]
    assert run.position.recoveries == 1
    assert run.position.scale == 0.5
    assert run.game.gentle
    assert all(each.isfinite().all() for each in run.generator.state_dict().values())


def test_a_run_that_keeps_breaking_ends():
    run = trainer(TrainOptions(**{**FAST.__dict__, "steps": 40}))
    spoil(run, at=list(range(5, 40, 4)))
    with pytest.raises(CvtoolError, match=f"going back {RECOVERIES} times"):
        run.run(on_check=ignore)


def test_a_run_that_went_back_and_was_stopped_ends_with_the_same_bits():
    options = TrainOptions(**{**FAST.__dict__, "loss": Loss.bce, "steps": 16})
    whole, first, second = (trainer(options) for _ in range(3))
    for run in (whole, first):
        spoil(run, at=[5])
    whole.run(on_check=ignore)
    assert whole.position.recoveries == 1
    assert not first.run(on_check=ignore, stop=lambda: first.position.step == 10)
    second.load_state(copy.deepcopy(first.state()))
    second.run(on_check=ignore)
    assert same(whole.state(), second.state())


def test_metrics_are_json_whatever_happened():
    run, seen = trainer(TrainOptions(**{**FAST.__dict__, "loss": Loss.bce})), []
    spoil(run, at=[5])
    run.run(on_check=seen.append)
    assert math.isnan(seen[1].facts["loss_g"])
    assert json.loads(json.dumps(seen[1].record(), allow_nan=False))["loss_g"] is None


def test_facts_are_means_of_the_steps_that_reported_them():
    run, seen, plain = trainer(TrainOptions(**{**FAST.__dict__, "steps": 4, "lazy": 4})), [], []
    step = run.game.step

    def spied(*arguments):
        plain.append(step(*arguments))
        return plain[-1]

    run.game.step = spied
    run.run(on_check=seen.append)
    assert seen[0].facts["penalty"] == pytest.approx(float(plain[0]["penalty"]))
    assert seen[0].facts["loss_g"] == pytest.approx(np.mean([float(each["loss_g"]) for each in plain]))


def test_epochs_count_what_critics_see():
    run, seen = trainer(TrainOptions(**{**FAST.__dict__, "loss": Loss.wgan, "steps": 4})), []
    run.run(on_check=seen.append)
    assert seen[0].epoch == 4 * 5 * 16 / 400


class TestOptions:
    @pytest.mark.parametrize(
        ("loss", "penalty", "weight"),
        [
            (Loss.bce, Penalty.r1_r2, RECIPES[Loss.r3gan].weight),
            (Loss.r3gan, Penalty.gradient, 10.0),
            (Loss.hinge, Penalty.dragan, 10.0),
            (Loss.r3gan, Penalty.none, 0.0),
            (Loss.wgan_gp, None, 10.0),
        ],
    )
    def test_another_penalty_has_its_usual_weight(self, loss, penalty, weight):
        assert TrainOptions(loss=loss, penalty=penalty).recipe.weight == weight
        assert TrainOptions(loss=loss, penalty=penalty, weight=3.0).recipe.weight == 3.0

    def test_what_was_left_open(self):
        networks, train = completed(100, NetworkOptions(), TrainOptions(loss=Loss.hinge))
        assert (networks.spectral, train.augment) == (True, Augment.diff)
        assert completed(10**6, NetworkOptions(spectral=False), train) == (NetworkOptions(spectral=False), train)
        networks, train = completed(10**6, NetworkOptions(), TrainOptions(vae=True, loss=Loss.hinge))
        assert (networks.spectral, train.augment) == (False, Augment.off)

    def test_smoothing_is_refused_before_the_first_step(self):
        with pytest.raises(UsageError, match="labels to smooth"):
            trainer(TrainOptions(smoothing=0.1))

    def test_a_rate_of_nothing(self):
        assert trainer(TrainOptions(vae=True, rate_g=0.0)).game.rate == 0

    def test_fully_connected_networks_show_no_deviation(self):
        with pytest.raises(UsageError, match="dcgan or resnet"):
            build(NetworkOptions(arch=Arch.mlp, minibatch_std=True), Shape(SIZE, 1))

    @pytest.mark.parametrize(
        ("count", "batch", "text"),
        [
            (400, 30, "real ones and generated ones. Give a --batch that is a multiple of 4"),  # 28, 29 and two fakes
            (400, 9, "multiple of 4"),
            (30, 64, "There are 30 pictures; give a smaller --batch that is a multiple of 4"),
        ],
    )
    def test_a_deviation_of_real_and_generated_pictures_is_refused(self, count, batch, text):
        networks, options = NetworkOptions(arch=Arch.dcgan, minibatch_std=True), TrainOptions(batch=batch, samples=100)
        with pytest.raises(UsageError, match=text):
            prepare(bars(count), networks, options, Pooled())

    @pytest.mark.parametrize("changes", [{"batch": 28}, {"batch": 64}, {"batch": 30, "vae": True}])
    def test_a_deviation_of_pictures_of_one_kind(self, changes):
        networks = NetworkOptions(arch=Arch.dcgan, minibatch_std=True, width=4)
        run = prepare(bars(), networks, TrainOptions(samples=100, precision="fp32", **changes), Pooled())
        assert run.feed.batch == changes["batch"]


def test_adam_is_torchs_also_after_a_pause():
    torch.manual_seed(0)
    one = torch.nn.Linear(5, 3)
    other = copy.deepcopy(one)
    ours, theirs = Adam(one, (0.5, 0.99)), torch.optim.Adam(other.parameters(), 0.01, (0.5, 0.99), fused=True)
    for number, x in enumerate(torch.randn(6, 4, 5)):
        if number == 3:
            kept, ours = copy.deepcopy(ours.state_dict()), Adam(one, (0.5, 0.99))
            ours.load_state_dict(kept)
        for module in (one, other):
            module.zero_grad()
            module(x).square().sum().backward()
        ours.set_rate(0.01)
        ours.step()
        theirs.step()
    assert all(map(torch.equal, one.parameters(), other.parameters()))


def test_no_recovery_unless_wanted():
    run = trainer(TrainOptions(**{**FAST.__dict__, "recover": False}))
    spoil(run, at=[5])
    with pytest.raises(CvtoolError, match="best state is kept"):
        run.run(on_check=ignore)


class TestOneStep:
    """Against the same step written out with torch's own parts."""

    def test_non_saturating_game(self):
        options = TrainOptions(loss=Loss.bce, penalty=Penalty.none, batch=16, precision="fp32")
        run = trainer(options)
        game, feed = run.game, run.feed
        twins = copy.deepcopy((game.generator, game.discriminator))
        recipe = RECIPES[Loss.bce]
        adams = [
            torch.optim.Adam(twin.parameters(), rate, (recipe.beta1, recipe.beta2))
            for twin, rate in zip(twins, (recipe.rate_g, recipe.rate_d), strict=True)
        ]
        game.step(0, feed, torch.Generator().manual_seed(3), 1.0, 0.0)

        generator, discriminator = twins
        real, labels = feed(0)
        fake = generator(torch.randn(16, 8, generator=torch.Generator().manual_seed(3)), labels)
        truth, lie = discriminator(real, labels), discriminator(fake.detach(), labels)
        loss = binary_cross_entropy_with_logits(truth, torch.ones(16))
        (loss + binary_cross_entropy_with_logits(lie, torch.zeros(16))).backward()
        adams[1].step()
        discriminator.zero_grad()
        softplus(-discriminator(fake, labels)).mean().backward()
        adams[0].step()
        for ours, theirs in zip((game.generator, game.discriminator), twins, strict=True):
            for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)

    def test_critic_steps_and_clipping(self):
        run = trainer(TrainOptions(loss=Loss.wgan, batch=16, precision="fp32"))
        numbers = []
        feed = run.feed
        run.game.step(2, lambda number: numbers.append(number) or feed(number), torch.Generator(), 1.0, 0.0)
        assert numbers == [10, 11, 12, 13, 14]
        assert max(each.abs().max() for each in run.game.discriminator.parameters()) <= RECIPES[Loss.wgan].clip

    def test_lazy_penalties_skip_steps(self):
        run = trainer(TrainOptions(lazy=3, batch=16, precision="fp32"))
        seen = [run.game.step(n, run.feed, torch.Generator().manual_seed(n), 1.0, 0.0) for n in range(6)]
        assert ["penalty" in facts for facts in seen] == [True, False, False, True, False, False]

    def test_rates_fall_to_nothing(self):
        run = trainer(TrainOptions(batch=16, precision="fp32"))
        before = copy.deepcopy(run.game.generator.state_dict())
        run.game.step(0, run.feed, torch.Generator(), 0.0, 0.0)
        weights = [name for name, _ in run.game.generator.named_parameters()]
        assert all(torch.equal(before[name], run.game.generator.state_dict()[name]) for name in weights)


class TestAverage:
    def test_weights_by_hand(self):
        generator, _ = build(NetworkOptions(width=4), Shape(SIZE, 1))
        average = Average(generator, 0.5)
        start = [each.clone() for each in generator.parameters()]
        with torch.no_grad():
            for each in generator.parameters():
                each.add_(1)
        average.add(generator, 1000)
        for one, other in zip(average.generator.parameters(), start, strict=True):
            torch.testing.assert_close(one, other + 0.5)

    def test_batch_norms_are_settled(self):
        torch.manual_seed(0)
        generator, _ = build(NetworkOptions(width=4), Shape(SIZE, 1))
        average = Average(generator, 0.9)
        z = generator.noise(400, torch.Generator().manual_seed(0))
        average.settle(z, None, rounds=1)
        whole = copy.deepcopy(generator).train()
        with torch.no_grad():
            torch.testing.assert_close(average.generator(z), whole(z), rtol=0.05, atol=0.01)
        assert not average.generator.training
        assert all(layer.momentum == 0.1 for layer in average.generator.modules() if hasattr(layer, "momentum"))

    def test_settling_leaves_no_batch_of_one(self):
        generator, _ = build(NetworkOptions(arch=Arch.mlp, width=4), Shape(SIZE, 1))
        average = Average(generator, 0.9)
        average.settle(generator.noise(103, torch.Generator()), None)
        assert all(each.isfinite().all() for each in average.generator.state_dict().values())


class TestFeeder:
    def test_an_epoch_shows_every_picture_once(self):
        data = bars(40)
        feed = Feeder(data, 10, 0, CPU)
        seen = torch.cat([feed(number).labels for number in range(4)])
        assert sorted(seen.tolist()) == sorted(data.labels.tolist())
        assert not torch.equal(feed(0).pictures, feed(4).pictures)

    def test_batches_do_not_depend_on_what_was_asked_before(self):
        data = bars(40)
        one, other = Feeder(data, 10, 0, CPU), Feeder(data, 10, 0, CPU)
        one(0)
        torch.testing.assert_close(one(7).pictures, other(7).pictures)

    def test_fewer_pictures_than_a_batch(self):
        feed = Feeder(bars(5), 64, 0, CPU)
        assert len(feed(0).pictures) == len(feed(3).pictures) == 5

    def test_levels_survive(self):
        levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1)
        assert np.array_equal(to_pixels(to_signed(levels)), levels.numpy())
        assert to_signed(levels).min() == -1
        assert to_signed(levels).max() == 1

    def test_labels_as_often_as_in_the_data(self):
        labels = np.array([0] * 90 + [1] * 10)
        data = Pictures.of(np.zeros((100, SIZE, SIZE, 1), np.uint8), labels)
        drawn = likely_labels(data, 5000, torch.Generator().manual_seed(0))
        assert drawn.float().mean() == pytest.approx(0.1, abs=0.02)


class TestVae:
    def test_divergence_and_reconstruction_are_the_papers(self):
        chance = np.random.default_rng(0)
        mean, log_variance = chance.normal(size=(2, 5, 4))
        expected = reference.kl_divergence(mean, log_variance)
        value = expected[0] if isinstance(expected, tuple) else expected
        assert divergence(torch.tensor(mean), torch.tensor(log_variance)).item() == pytest.approx(float(value))
        normal = torch.distributions.Normal(torch.tensor(mean), torch.tensor(log_variance).div(2).exp())
        theirs = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
        assert divergence(torch.tensor(mean), torch.tensor(log_variance)).item() == pytest.approx(theirs.item())

    def test_pixels_are_probabilities(self):
        a, x = torch.randn(3, 1, 4, 4), torch.rand(3, 1, 4, 4) * 2 - 1
        p, q = (a.tanh() + 1) / 2, (x + 1) / 2
        expected = -(q * p.log() + (1 - q) * (1 - p).log()).sum() / 3
        torch.testing.assert_close(reconstruction(a, x), expected, rtol=1e-4, atol=1e-4)

    def test_the_encoder_hears_of_classes(self):
        _, discriminator = build(NetworkOptions(width=4), Shape(SIZE, 1, 2))
        encoder = Encoder(discriminator, 8)
        x = torch.zeros(1, 1, SIZE, SIZE)
        assert not torch.equal(encoder(x, torch.tensor([0]))[0], encoder(x, torch.tensor([1]))[0])
