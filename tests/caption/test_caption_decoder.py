"""The captioner as a function: word by word, by hand, against padding; and its losses."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from captioners import CHANNELS, PLACES, VOCABULARY, corpus, log_softmax, next_logs, sentences, some_features, tiny
from numeric import central_difference

from cvtool.caption.batches import batches, in_order, padded
from cvtool.caption.decoder import Captioner
from cvtool.caption.evaluation import captions_and_loss
from cvtool.caption.losses import log_probabilities, self_critical_loss, temporal_softmax_loss
from cvtool.caption.options import Cell, DecodeOptions, ModelOptions
from cvtool.caption.vocabulary import END, NULL, START

WORDS = torch.tensor([[[START, 4, 5, 6, 7], [START, 8, 4, 4, 9]], [[START, 9, 8, 7, 6], [START, 5, 5, 5, 5]]])


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_all_words_at_once_are_word_after_word(cell, attention, layers, tie) -> None:
    captioner = tiny(cell, attention=attention, layers=layers, tie=tie)
    seen = captioner.see_pictures(some_features(2))
    x, end, looked = captioner(seen, WORDS)
    state = None
    for place in range(WORDS.shape[2]):
        y, state, look = captioner(seen, WORDS[..., place : place + 1], state)
        torch.testing.assert_close(y[:, :, 0], x[:, :, place])
        if attention:
            torch.testing.assert_close(look[:, :, 0], looked[:, :, place])
    assert (looked is None) == (not attention)
    assert len(state) == layers * (2 if cell == "lstm" else 1)
    for one, other in zip(state, end, strict=True):
        torch.testing.assert_close(one, other)
    assert captioner.score(x).shape == (2, 2, 5, len(VOCABULARY))


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_captions_and_pictures_do_not_mix(cell) -> None:
    captioner = tiny(cell, layers=2)
    features = some_features(2)
    x, _, looked = captioner(captioner.see_pictures(features), WORDS)
    for picture, caption in itertools.product(range(2), range(2)):
        seen = captioner.see_pictures(features[picture : picture + 1])
        y, _, look = captioner(seen, WORDS[picture : picture + 1, caption : caption + 1])
        torch.testing.assert_close(y[0, 0], x[picture, caption])
        torch.testing.assert_close(look[0, 0], looked[picture, caption])
    torch.testing.assert_close(looked.sum(-1), torch.ones(2, 2, 5))


def test_some_of_the_pictures() -> None:
    captioner = tiny()
    features = some_features(3)
    some = captioner.see_pictures(features)[torch.tensor([2, 0])]
    again = captioner.see_pictures(features[[2, 0]])
    for one, other in ((some.first, again.first), (some.keys, again.keys), (some.values, again.values)):
        torch.testing.assert_close(one, other)


def by_hand(attention: bool) -> Captioner:
    """Two hidden units, three words beyond the specials; the word says nothing, the cell adds (½, −¼) and its state."""
    captioner = Captioner(
        ModelOptions(cell=Cell.rnn, attention=attention, layers=1, hidden=2, embedding=2, dropout=0.0, tie=False), 7, 2
    )
    captioner.eval().requires_grad_(False)
    for parameter in captioner.parameters():
        parameter.zero_()
    captioner.first.weight.copy_(torch.eye(2))
    captioner.cells[0].bias_ih_l0.copy_(torch.tensor([0.5, -0.25]))
    if attention:
        for layer in (captioner.see, captioner.key, captioner.query):
            layer.weight.copy_(torch.eye(2))
        captioner.value.weight.copy_(torch.diag(torch.tensor([2.0, 3.0])))
    return captioner


def test_attention_by_hand() -> None:
    captioner = by_hand(True)
    features = torch.tensor([[[1.0, -5.0], [0.0, 2.0]]])  # the negative one is cut off
    x, _, looked = captioner(captioner.see_pictures(features), torch.tensor([[[START]]]))
    h = (math.tanh(0.5), math.tanh(-0.25))
    # Keys are (1, 0) and (0, 2), values (2, 0) and (0, 6).
    ahead = (h[0] * 1 - h[1] * 2) / math.sqrt(2)
    share = 1 / (1 + math.exp(-ahead))
    assert looked.flatten().tolist() == pytest.approx([share, 1 - share])
    assert x.flatten().tolist() == pytest.approx([*h, 2 * share, 6 * (1 - share)])


def test_the_picture_sets_the_first_state() -> None:
    captioner = by_hand(False)
    captioner.cells[0].weight_hh_l0.copy_(torch.eye(2))
    captioner.first.bias.copy_(torch.tensor([0.0, 0.1]))
    features = torch.tensor([[[1.0, 0.0], [0.0, 0.4]]])  # mean over places (0.5, 0.2)
    x, _, _ = captioner(captioner.see_pictures(features), torch.tensor([[[START, 4]]]))
    first = [math.tanh(0.5 + 0.5), math.tanh(0.2 + 0.1 - 0.25)]
    second = [math.tanh(first[0] + 0.5), math.tanh(first[1] - 0.25)]
    assert x.flatten().tolist() == pytest.approx([*first, *second])


def test_tied_scores_are_products_with_word_vectors() -> None:
    captioner = tiny(tie=True)
    captioner.bias.copy_(torch.arange(len(VOCABULARY)))
    x = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    wanted = (x @ captioner.join.weight.T + captioner.join.bias) @ captioner.embed.weight.T
    torch.testing.assert_close(captioner.score(x), wanted + torch.arange(len(VOCABULARY)))
    assert "scores.weight" not in captioner.state_dict()


def test_padding_does_not_count() -> None:
    """Captions of all lengths together, and each picture and caption alone, added up by hand."""
    texts = sentences(5)
    data = corpus([texts[:3], ["dog"], texts[3:]])
    captioner = tiny(layers=2)
    _, total, words = captions_and_loss(captioner, data, DecodeOptions(longest=3), torch.device("cpu"))
    wanted = 0.0
    for number, each in enumerate(data.captions):
        features = torch.from_numpy(data.features.read([number], False)[0]).float()
        for caption in each:
            said = caption.tolist()
            for place in range(1, len(said)):
                wanted -= next_logs(captioner, features, said[1:place], allowed=False)[said[place]]
    assert words == data.tokens == sum(len(text.split()) + 1 for text in [*texts, "dog"])
    assert total == pytest.approx(wanted, rel=1e-5)


def test_padded() -> None:
    first, second = VOCABULARY.encode(["dog"], 5), VOCABULARY.encode(["a", "cat"], 5)
    found = padded([[first, second], [first]])
    assert found.tolist() == [
        [[START, 4, END, NULL], [START, 11, 5, END]],
        [[START, 4, END, NULL], [NULL, NULL, NULL, NULL]],
    ]


def test_every_picture_once_an_epoch_and_never_in_the_same_order() -> None:
    data = corpus([[text] for text in sentences(50)])
    epochs = [batches(data, 8, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))]
    for each in epochs:
        assert sorted(number for batch in each for number in batch) == list(range(50))
        assert len(each) == 7
        lengths = [{len(data.captions[number][0]) for number in batch} for batch in each]
        assert sum(max(some) - min(some) for some in lengths) <= 7  # like lengths come together
    assert epochs[0] == epochs[3]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert [number for batch in in_order(data, 8) for number in batch] == list(range(50))


def test_the_loss_of_the_notes() -> None:
    """Summed over words, divided by captions; smoothed: a share goes to all words evenly."""
    random = np.random.default_rng(0)
    scores, targets = random.standard_normal((5, 9)), random.integers(0, 9, 5)
    logs = np.array([log_softmax(row) for row in scores])
    right = -logs[np.arange(5), targets].sum()
    arguments = (torch.from_numpy(scores), torch.from_numpy(targets), 2)
    assert temporal_softmax_loss(*arguments).item() == pytest.approx(right / 2, rel=1e-6)
    smooth = (0.9 * right - 0.1 * logs.mean(1).sum()) / 2
    assert temporal_softmax_loss(*arguments, 0.1).item() == pytest.approx(smooth, rel=1e-6)


def test_log_probabilities() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    found = log_probabilities(scores, torch.tensor([2, NULL]))
    assert found.tolist() == pytest.approx([-math.log(1 + math.exp(-1) + math.exp(-2)), 0])


def test_self_critical_by_finite_differences() -> None:
    """The gradient is −(reward − mean of the others) · ∂ log p, over the captions."""
    random = np.random.default_rng(0)
    scores, words = random.standard_normal((2, 3, 5)), random.integers(1, 5, (2, 3))
    rewards = np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]])
    advantages = np.array([[1 - 4, 2 - 3.5, 6 - 1.5], [-1.5, -1.5, 3]])

    def objective(values: np.ndarray) -> float:
        chosen = [log_softmax(values[n, k])[words[n, k]] for n in range(2) for k in range(3)]
        return float(-(advantages.flatten() * chosen).mean())

    x = torch.from_numpy(scores).requires_grad_()
    self_critical_loss(log_probabilities(x, torch.from_numpy(words)), torch.from_numpy(rewards)).backward()
    np.testing.assert_allclose(x.grad.numpy(), central_difference(objective, scores), atol=1e-6)


def test_self_critical_climbs_the_expected_reward() -> None:
    """Averaged over all pairs that can be drawn, its gradient is exactly minus that of the mean reward."""
    scores = torch.tensor([0.3, -0.2, 1.0, 0.1], dtype=torch.float64, requires_grad=True)
    rewards = torch.tensor([0.0, 1.0, 3.0, -2.0], dtype=torch.float64)
    wanted = torch.autograd.grad(-(torch.softmax(scores, -1) * rewards).sum(), scores)[0]
    chances = torch.softmax(scores, -1).detach()
    found = torch.zeros(4, dtype=torch.float64)
    for pair in itertools.product(range(4), repeat=2):
        drawn = torch.tensor([pair])
        loss = self_critical_loss(torch.log_softmax(scores, -1)[drawn], rewards[drawn])
        found += chances[list(pair)].prod() * torch.autograd.grad(loss, scores)[0]
    torch.testing.assert_close(found, wanted)


def test_shapes_say_what_they_are() -> None:
    seen = tiny().see_pictures(some_features(3))
    assert seen.first.shape == (3, 8)
    assert seen.keys.shape == seen.values.shape == (3, PLACES, 8)
    assert tiny().first.in_features == CHANNELS
