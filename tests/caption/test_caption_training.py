"""Training: what it learns, that it stops and goes on to the same end, and the same by NumPy."""

from __future__ import annotations

import copy
import io
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from captioners import CHANNELS, VOCABULARY, WORDS, corpus, next_logs, sentences, tiny

from cvtool.caption import training
from cvtool.caption.datasets import CaptionedPicture
from cvtool.caption.decoding import draw, follow
from cvtool.caption.evaluation import captions_and_loss, metrics_of
from cvtool.caption.metrics import CiderD
from cvtool.caption.numpy_training import NumpyTrainer, check_options
from cvtool.caption.options import Decode, DecodeOptions, ModelOptions, TrainOptions
from cvtool.caption.preparation import InMemory, Source, build_vocabulary, corpus_of
from cvtool.caption.training import Trainer
from cvtool.caption.vocabulary import END
from cvtool.distributed import Share
from cvtool.errors import BadInputError, CvtoolError, UsageError

GREEDY = DecodeOptions(decode=Decode.greedy, longest=8)
CPU = torch.device("cpu")
QUICK = TrainOptions(epochs=3, batch=4, rate=1e-2, warmup=2, longest=8, smoothing=0.1, decay=0.01)
COURSE = {"attention": False, "layers": 1, "tie": False, "dropout": 0.0}
PLAIN = {"smoothing": 0.0, "decay": 0.0}


def trainer_of(options: TrainOptions, *, kind=Trainer, seed: int = 0, flips: bool = True, cell: str = "lstm", **shape):
    texts = sentences(22)
    data = corpus([texts[:2], *([text] for text in texts[2:11])], flips=flips)
    judged = corpus([[text] for text in texts[11:14]], seed=1)
    captioner = tiny(cell, seed=seed, sharp=1.0, **{"dropout": 0.3, "layers": 2, **shape}).requires_grad_(True)
    return kind(captioner, data, judged, VOCABULARY, options)


def through_a_file(state: dict) -> dict:
    """What is left of a state after it was written and read without running code."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)


def run(trainer: Trainer, steps: int | None = None) -> list:
    """Train, to the end or for some steps; what the epochs came to, without times."""
    epochs, asked = [], iter(range(10**6))
    stop = (lambda: False) if steps is None else (lambda: next(asked) == steps)
    finished = trainer.run(on_epoch=epochs.append, stop=stop)
    assert finished == (steps is None)
    return [replace(epoch, seconds=0, tokens_per_second=0) for epoch in epochs]


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.captioner.state_dict().items()}


def assert_same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize(
    ("cell", "shape"),
    [
        ("lstm", {"attention": True, "tie": True}),
        ("lstm", {"attention": False, "tie": False}),
        ("gru", {"attention": True, "tie": True}),
        ("rnn", {"attention": False, "tie": True}),
    ],
)
def test_twenty_captions_are_learned_by_heart(cell, shape) -> None:
    data = corpus([[text] for text in sentences(20)])
    captioner = tiny(cell, sharp=1.0, **{"hidden": 48, "embedding": 32, **shape}).requires_grad_(True)
    options = TrainOptions(epochs=80, batch=10, rate=2e-2, warmup=5, longest=8, smoothing=0, decay=0, patience=99)
    epochs = run(Trainer(captioner, data, data, VOCABULARY, options))
    assert epochs[0].loss > 8
    assert epochs[-1].loss < 0.5
    assert epochs[-1].perplexity < 1.1
    said = captions_and_loss(captioner, data, GREEDY, CPU)[0]
    wanted = [tuple(caption[0][1:-1].tolist()) for caption in data.captions]
    assert said == wanted
    best = next(epoch for epoch in reversed(epochs) if epoch.is_best)
    assert best.metrics.bleu4 == pytest.approx(1, abs=1e-6)


def test_what_an_epoch_reports_by_hand() -> None:
    """With a rate of 0 nothing moves, so everything can be computed again from the captioner."""
    trainer = trainer_of(replace(QUICK, rate=0, smoothing=0, epochs=1), flips=False, dropout=0.0)
    before = weights(trainer)
    (epoch,) = run(trainer)
    assert_same(before, weights(trainer))

    def total(data) -> tuple[float, int, int]:
        loss, captions, words = 0.0, 0, 0
        for number, each in enumerate(data.captions):
            features = torch.from_numpy(data.features.read([number], False)[0]).float()
            for caption in each:
                said = caption[1:].tolist()
                for place, word in enumerate(said):
                    loss -= next_logs(trainer.captioner, features, said[:place], allowed=False)[word]
                captions += 1
                words += len(said)
        return loss, captions, words

    loss, captions, _ = total(trainer.corpus)
    assert captions == 11
    assert epoch.loss == pytest.approx(loss / captions, rel=1e-5)
    loss, _, words = total(trainer.development)
    assert epoch.perplexity == pytest.approx(math.exp(loss / words), rel=1e-5)
    assert (epoch.epoch, epoch.step, epoch.phase, epoch.is_best) == (1, 3, "words", True)
    said = captions_and_loss(trainer.captioner, trainer.development, GREEDY, CPU)[0]
    assert epoch.metrics == metrics_of(said, trainer.development, VOCABULARY)


def test_the_rate() -> None:
    trainer = trainer_of(replace(QUICK, epochs=100, warmup=10, rate=1e-3, scst=2, scst_rate=7e-5))
    steps = 300
    assert [trainer.rate(step) for step in (0, 4, 9)] == pytest.approx([1e-4, 5e-4, 1e-3])
    assert trainer.rate(steps // 2) == pytest.approx(5.5e-4)
    assert trainer.rate(steps - 1) == pytest.approx(1e-4, rel=1e-3)
    assert [trainer.rate(steps + step) for step in (0, 4, 9, 50)] == pytest.approx([7e-6, 3.5e-5, 7e-5, 7e-5])
    falling = [trainer.rate(step) for step in range(10, steps)]
    assert falling == sorted(falling, reverse=True)


VARIANTS = {
    "plain": (Trainer, QUICK, {}),
    "scheduled": (Trainer, replace(QUICK, scheduled=0.7), {"cell": "gru", "attention": False}),
    "self-critical": (Trainer, replace(QUICK, epochs=1, scst=2, scst_rate=1e-3, scst_samples=3), {}),
    "averaged": (Trainer, replace(QUICK, epochs=2, scst=1, scst_rate=1e-3, scst_samples=3, average=2), {}),
    "numpy": (NumpyTrainer, replace(QUICK, **PLAIN), {"cell": "rnn", **COURSE}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_after_any_step_it_goes_on_to_the_same_end(name) -> None:
    kind, options, shape = VARIANTS[name]
    whole = trainer_of(options, kind=kind, **shape)
    random = torch.get_rng_state()
    wanted = run(whole)
    assert torch.equal(torch.get_rng_state(), random)  # whoever calls keeps their own random numbers
    assert len(wanted) == 3
    for steps in range(9):
        first = trainer_of(options, kind=kind, **shape)
        done = run(first, steps)
        assert done == wanted[: steps // 3]
        torch.manual_seed(steps)  # nothing may hang on what the rest of the program draws
        second = trainer_of(options, kind=kind, seed=99, **shape)
        second.load_state(through_a_file(first.state()))
        assert done + run(second) == wanted
        assert_same(weights(whole), weights(second))
        assert replace(second.position, seconds=0) == replace(whole.position, seconds=0)


def test_scheduled_sampling_gives_the_networks_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says after a word stands for the next one: here 4 after the first, 5 after the second, and so on."""
    trainer = trainer_of(replace(QUICK, scheduled=0.5, epochs=3))
    monkeypatch.setattr(
        trainer.captioner,
        "score",
        lambda x: 100.0 * torch.eye(16)[4:][torch.arange(x.shape[2])].expand(*x.shape[:3], 16),
    )
    given = torch.tensor([[[1, 15, 15, 15, 15], [1, 15, 15, 2, 0]]]).repeat(200, 1, 1)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool().expand(200, 2, 5)
    seen = trainer.captioner.see_pictures(torch.zeros(200, 4, CHANNELS))
    torch.manual_seed(0)
    for epoch, share in enumerate((0, 0.25, 0.5)):
        trainer.position.epoch = epoch
        mixed = trainer._mixed(seen, given, mask)
        replaced = mixed != given
        assert torch.equal(mixed[replaced], torch.tensor([1, 4, 5, 6, 7]).expand(200, 2, 5)[replaced])
        assert replaced[..., 1:][mask[..., 1:]].float().mean().item() == pytest.approx(share, abs=0.05)
        assert not replaced[~mask].any()


def test_the_variants_differ() -> None:
    """Else the test above would not show that they go on exactly."""
    plain, scheduled, other = (trainer_of(replace(QUICK, **more)) for more in ({}, {"scheduled": 0.7}, {"seed": 1}))
    for trainer in (plain, scheduled, other):
        run(trainer, 8)
    for trainer in (scheduled, other):
        assert not torch.equal(plain.captioner.first.weight, trainer.captioner.first.weight)


def test_steps_and_epochs_are_told_as_they_end() -> None:
    trainer, heard, told = trainer_of(QUICK), [], []
    trainer.run(
        on_epoch=lambda epoch: heard.append(("epoch", trainer.position.epoch, trainer.position.batch)),
        on_step=lambda: heard.append(("step", trainer.position.epoch, trainer.position.batch)),
        after_epoch=lambda: heard.append(("saved", trainer.position.epoch, trainer.position.batch)),
        progress=told.append,
    )
    first = [("step", 0, 1), ("step", 0, 2), ("step", 0, 3), ("epoch", 0, 3), ("saved", 1, 0)]
    assert heard[:5] == first
    assert [(step.stage, step.done, step.total) for step in told[:4]] == [
        ("epoch 1", 1, 3), ("epoch 1", 2, 3), ("epoch 1", 3, 3), ("epoch 2", 1, 3),
    ]  # fmt: skip


def test_a_state_is_of_its_moment_once_written() -> None:
    """Going on from it changes nothing in it, so that two can go on from one."""
    trainer = trainer_of(QUICK)
    run(trainer, 5)
    state = through_a_file(trainer.state())
    kept = copy.deepcopy(state)
    trainer.load_state(state)
    run(trainer)
    assert_same(state["best"], kept["best"])
    assert state["position"] == kept["position"]
    assert_same(state["captioner"], kept["captioner"])


def test_patience() -> None:
    """A rate of 0 never gets better: the first epoch is the best, and after two more it is enough."""
    trainer = trainer_of(replace(QUICK, rate=0, epochs=10, patience=2, scst=1, scst_rate=0))
    epochs = run(trainer)
    assert [epoch.is_best for epoch in epochs] == [True, False, False, False]
    assert [epoch.phase for epoch in epochs] == ["words"] * 3 + ["self-critical"]
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 11]
    assert len(run(trainer_of(replace(QUICK, rate=0, epochs=10, patience=2)))) == 3


def test_the_best_weights_are_what_is_left() -> None:
    """At the end, and before the self-critical epochs."""
    trainer = trainer_of(replace(QUICK, rate=0.1, epochs=6, scst=1, scst_rate=0, patience=99))
    epochs, kept = [], []
    trainer.run(on_epoch=lambda epoch: (epochs.append(epoch), kept.append(weights(trainer))))
    best = max(range(6), key=lambda number: epochs[number].metrics.cider)
    assert best != 5
    assert epochs[6].phase == "self-critical"
    assert_same(kept[6], kept[best])
    assert_same(weights(trainer), kept[best])


def test_the_mean_of_the_last_epochs_is_judged_and_kept() -> None:
    """While training itself goes on as it would without; the self-critical epochs begin anew, from the best."""
    options = replace(QUICK, epochs=3, scst=2, scst_rate=1e-3, average=2, patience=99)
    trainer, own, kept, facts = trainer_of(options), [], [], []
    trainer.run(
        on_step=lambda: own.append(weights(trainer)),
        on_epoch=lambda epoch: (kept.append(weights(trainer)), facts.append(epoch)),
    )
    plain, alone = trainer_of(replace(options, average=1)), []
    plain.run(on_epoch=lambda epoch: alone.append(weights(plain)))
    ends = own[2::3]
    for one, other in zip(ends[:3], alone[:3], strict=True):
        assert_same(one, other)
    means = [{name: (a[name] + b[name]) / 2 for name in a} for a, b in pairwise(ends)]
    for found, wanted in ((kept[0], ends[0]), (kept[1], means[0]), (kept[2], means[1]), (kept[4], means[3])):
        for name, value in found.items():
            torch.testing.assert_close(value, wanted[name], rtol=1e-5, atol=1e-6)
    assert_same(kept[3], ends[3])
    best = max(range(3), key=lambda number: facts[number].metrics.cider)
    assert (ends[3]["embed.weight"] - kept[best]["embed.weight"]).abs().max() < 0.05  # three small steps away
    metrics = trainer.position.best
    assert metrics == max(each.metrics.cider for each in facts)


@pytest.mark.parametrize(("kind", "rate"), [(Trainer, 1e30), (NumpyTrainer, 1e300)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_rate_that_is_too_high_is_told(kind, rate) -> None:
    trainer = trainer_of(replace(QUICK, **PLAIN, rate=rate), kind=kind, **COURSE)
    with pytest.raises(CvtoolError, match="lower rate"):
        run(trainer)


def test_a_captioner_that_is_sure_of_the_wrong_words_has_a_perplexity() -> None:
    trainer = trainer_of(replace(QUICK, rate=0, epochs=1), tie=False)
    with torch.no_grad():
        trainer.captioner.scores.bias[0] = 1e5
    (epoch,) = run(trainer)
    assert epoch.perplexity == math.inf


def test_self_critical_training_raises_the_reward() -> None:
    texts = [[f"a {color} {animal} {verb}"] for color in ("red", "big") for animal in ("dog", "cat", "ball")
             for verb in ("runs", "sits")]  # fmt: skip
    data = corpus(texts)
    captioner = tiny(sharp=1.0, hidden=24, embedding=12).requires_grad_(True)
    options = TrainOptions(
        epochs=8, batch=12, rate=1e-2, warmup=1, longest=8, patience=99, scst=25, scst_rate=5e-3, scst_samples=6
    )
    epochs = run(Trainer(captioner, data, data, VOCABULARY, options))
    rewards = [-epoch.loss for epoch in epochs if epoch.phase == "self-critical"]
    assert len(rewards) == 25
    assert np.mean(rewards[-5:]) > 1.5 * np.mean(rewards[:3])
    before, after = epochs[7].metrics.cider, epochs[-1].metrics.cider
    assert after > before


def test_an_anchor_is_the_loss_of_peoples_captions_beside_the_reward() -> None:
    numbers, share, losses = [0, 3, 5], Share.whole(3), {}
    for anchor in (0.0, 0.5):
        trainer = trainer_of(replace(QUICK, epochs=0, scst=1, scst_anchor=anchor), dropout=0.0)
        losses[anchor], facts = trainer._critical_step(numbers, share, 7)
        assert facts["captions"] == 3 * trainer.options.scst_samples  # of the reward alone
    words = trainer._step(numbers, share, 7)[0]
    assert (losses[0.5] - losses[0.0]).item() == pytest.approx(0.5 * words.item(), rel=1e-5)


def test_one_caption_has_no_others_to_be_compared_with() -> None:
    with pytest.raises(UsageError, match=r"--scst-samples 1 .* Give 2 or more"):
        trainer_of(replace(QUICK, scst=1, scst_samples=1))


def test_what_learns_is_what_was_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log probabilities behind the loss are those of the captions as `follow` weighs them."""
    options = replace(QUICK, epochs=0, scst=1, scst_temperature=1.0, longest=8)
    trainer, kept = trainer_of(options, dropout=0.0), []
    plain = training.self_critical_loss
    monkeypatch.setattr(training, "self_critical_loss", lambda logs, rewards: kept.append(logs) or plain(logs, rewards))
    drawn = []
    monkeypatch.setattr(training, "draw", lambda *given: drawn.append(draw(*given)) or drawn[-1])
    numbers = [0, 3, 5]
    trainer._critical_step(numbers, Share.whole(3), 8)
    trainer.captioner.eval()
    seen = trainer.captioner.see_pictures(trainer._features(numbers, Share.whole(3), 8))
    for place, (captions, logs) in enumerate(zip(drawn[0].tolist(), kept[0], strict=True)):
        for caption, log in zip(captions, logs, strict=True):
            words = caption[: caption.index(END)]
            wanted, _ = follow(trainer.captioner, seen[place : place + 1], words)
            assert log.item() == pytest.approx(wanted.sum(), rel=1e-4)


def test_the_reward_counts_the_end() -> None:
    """A caption that stops where a reference does is worth more than the same words cut before."""
    trainer = trainer_of(replace(QUICK, epochs=0, scst=1))
    words = trainer.corpus.captions[3][0][1:].tolist()
    assert words[-1] == END
    whole, cut = trainer._rewards([3, 3], torch.tensor([[[*words, 0]], [[*words[:-1], 4, 2]]]))
    names = dict(zip(trainer.corpus.names, trainer.corpus.captions, strict=True))
    oracle = CiderD({name: [tuple(each[1:].tolist()) for each in some] for name, some in names.items()})
    assert whole == [pytest.approx(oracle.score("3.png", words))]
    assert whole[0] > cut[0]


@pytest.mark.parametrize("clip", [5.0, 0.05])
@pytest.mark.parametrize(("cell", "steps"), [("rnn", 8), ("lstm", 8), ("gru", 1)])
def test_numpy_trains_as_torch_does(cell, steps, clip) -> None:
    options = replace(QUICK, **PLAIN, clip=clip)
    one, other = (trainer_of(options, kind=kind, cell=cell, **COURSE) for kind in (Trainer, NumpyTrainer))
    if cell != "gru":  # the course has one bias where torch has two, which move twice as far together
        for trainer in (one, other):
            trainer.captioner.cells[0].bias_hh_l0.requires_grad_(False).zero_()
        other = NumpyTrainer(other.captioner, other.corpus, other.development, VOCABULARY, options)
    start = weights(one)
    for a, b in zip(run(one, steps), run(other, steps), strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-5)
        assert a.perplexity == pytest.approx(b.perplexity, rel=1e-5)
    for name, tensor in weights(one).items():
        if cell != "gru" or "bias" not in name:
            torch.testing.assert_close(tensor, weights(other)[name], rtol=1e-3, atol=1e-4)
            if "bias_hh" not in name:
                assert (tensor - start[name]).abs().max() > 4e-3  # it moved


@pytest.mark.parametrize(
    ("model", "train"),
    [({"attention": True}, {}), ({"layers": 2}, {}), ({"dropout": 0.1}, {}), ({"tie": True}, {}), ({}, {"scst": 1}),
     ({}, {"smoothing": 0.1}), ({}, {"scheduled": 0.1}), ({}, {"decay": 0.1})],
)  # fmt: skip
def test_numpy_trains_the_courses_captioner_only(model, train) -> None:
    check_options(ModelOptions(**COURSE), TrainOptions(**PLAIN))
    with pytest.raises(UsageError, match="--no-attention"):
        check_options(ModelOptions(**{**COURSE, **model}), TrainOptions(**{**PLAIN, **train}))


def pictures(count: int, split: str = "train") -> list[CaptionedPicture]:
    return [CaptionedPicture(f"{number}.png", None, ("The dog runs!", "A dog."), split) for number in range(count)]


def test_from_pictures_to_a_corpus() -> None:
    vocabulary = build_vocabulary(pictures(3), 4)
    assert vocabulary.words[4:] == ("dog",)  # six times; each other word three times
    vocabulary = build_vocabulary(pictures(3), 3)
    assert vocabulary.words[4:] == ("dog", "a", "runs", "the")
    values = np.arange(5 * CHANNELS, dtype=np.float32).reshape(5, CHANNELS)
    source = Source(InMemory(values), {f"{number}.png": 4 - number for number in range(5)}, "some", "0")
    found = corpus_of(pictures(3), source, vocabulary, 2)
    assert found.rows == (4, 3, 2)
    assert [caption.tolist() for caption in found.captions[0]] == [[1, 7, 4, 2], [1, 5, 4, 2]]
    assert found.references[0] == (("the", "dog", "runs"), ("a", "dog"))
    np.testing.assert_array_equal(found.features.read([found.rows[1]], False), values[3][None, None])
    with pytest.raises(BadInputError, match=r"1 pictures have no features, '5\.png'"):
        corpus_of(pictures(6), source, vocabulary, 2)
    with pytest.raises(BadInputError, match="no pictures to learn from"):
        build_vocabulary([], 1)
    with pytest.raises(BadInputError, match="No word occurs 99 times"):
        build_vocabulary(pictures(3), 99)


def test_the_words_of_these_tests_are_known() -> None:
    assert set(VOCABULARY.words[4:]) == set(WORDS)
