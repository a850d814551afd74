"""Words and the whole captioner: golden losses, central differences, torch, sampling with known answers."""

import numpy as np
import pytest
import torch
from numeric import central_difference, spaced
from torch.nn import functional

from cvtool.reference import words as layers
from cvtool.reference.attention import ATTENTIONS
from cvtool.reference.captioning import (
    END,
    NULL,
    START,
    first_state,
    initial_parameters,
    loss_and_gradients,
    sample,
    step,
)
from cvtool.reference.optimizers import AdamMemory, adam_step, clipped
from cvtool.reference.recurrent import CELLS

VARIANTS = [(cell, attention) for cell in CELLS for attention in (None, *ATTENTIONS)]
C, D, H, P, V = 4, 3, 5, 3, 7


def drawn(cell, attention, seed=0, pictures=2):
    """Features and parameters of a small captioner; nobody may change them."""
    rng = np.random.default_rng(seed)
    parameters = initial_parameters(
        rng, channels=C, embedding=D, hidden=H, words=V, cell=cell, attention=attention, queries=6
    )
    parameters = {name: a + 0.3 * rng.standard_normal(a.shape) for name, a in parameters.items()}
    features = rng.standard_normal((pictures, C) if attention is None else (pictures, P, C))
    for array in (features, *parameters.values()):
        array.setflags(write=False)
    return features, parameters


# Words


@pytest.mark.shared
def test_embedding_of_the_course(golden):
    case = golden["word_embedding"]
    table, words = spaced((0, 1), 5, 3), np.array(case["x"])
    vectors, _ = layers.embedding_forward(words, table)
    np.testing.assert_allclose(vectors[0], case["out[0]"], atol=1e-8)
    np.testing.assert_array_equal(vectors[1], table[[2, 1, 0, 3]])


def test_a_word_that_comes_twice_collects_twice():
    table = np.ones((4, 2))
    _, cache = layers.embedding_forward(np.array([[1, 1, 3]]), table)
    dtable = layers.embedding_backward(np.array([[[1.0, 2.0], [10.0, 20.0], [5.0, 6.0]]]), cache)
    np.testing.assert_array_equal(dtable, [[0, 0], [11, 22], [0, 0], [5, 6]])


def test_temporal_affine_gradients():
    rng = np.random.default_rng(0)
    x, weight, bias, dout = (rng.standard_normal(s) for s in ((2, 3, 4), (4, 5), (5,), (2, 3, 5)))
    _, cache = layers.affine_forward(x, weight, bias)
    dx, dweight, dbias = layers.affine_backward(dout, cache)

    def loss(x, weight, bias):
        return float((dout * layers.affine_forward(x, weight, bias)[0]).sum())

    np.testing.assert_allclose(dx, central_difference(lambda a: loss(a, weight, bias), x), rtol=1e-6)
    np.testing.assert_allclose(dweight, central_difference(lambda a: loss(x, a, bias), weight), rtol=1e-6)
    np.testing.assert_allclose(dbias, central_difference(lambda a: loss(x, weight, a), bias), rtol=1e-6)


def test_loss_is_torchs_cross_entropy_summed_over_words():
    rng = np.random.default_rng(1)
    scores, targets, mask = 3 * rng.standard_normal((4, 5, 6)), rng.integers(0, 6, (4, 5)), rng.random((4, 5)) < 0.6
    loss, dscores = layers.temporal_softmax_loss(scores, targets, mask)
    theirs = torch.tensor(scores, requires_grad=True)
    masked = torch.tensor(np.where(mask, targets, -100)).flatten()
    expected = functional.cross_entropy(theirs.flatten(0, 1), masked, ignore_index=-100, reduction="sum") / 4
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(dscores, theirs.grad, rtol=1e-9, atol=1e-15)


@pytest.mark.shared
def test_loss_of_random_scores_of_the_course(golden):
    """About T · p · ln V, p the share of words that count."""
    for n, t, v, p, about in golden["temporal_softmax"]["(N,T,V,p)->loss"]:
        rng = np.random.default_rng(2)
        scores, targets = 0.001 * rng.standard_normal((n, t, v)), rng.integers(v, size=(n, t))
        loss, _ = layers.temporal_softmax_loss(scores, targets, rng.random((n, t)) <= p)
        low, high = {"~2.3": (2.29, 2.32), "~23": (22.9, 23.2), "2.2-2.4": (2.2, 2.4)}[about]
        assert low < loss < high


def test_loss_of_hopeless_scores_is_finite():
    loss, dscores = layers.temporal_softmax_loss(np.array([[[0.0, 1e4]]]), np.array([[0]]), np.array([[True]]))
    assert loss == pytest.approx(1e4)
    np.testing.assert_allclose(dscores, [[[-1, 1]]])


# The captioner


@pytest.mark.shared
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_captioning_loss_of_the_course(golden, cell):
    case = golden["captioning_loss"]
    n, d, w, h, v, t = case["N,D,W,H,V,T"]
    shapes = initial_parameters(np.random.default_rng(0), channels=d, embedding=w, hidden=h, words=v, cell=cell)
    parameters = {name: spaced((-1.4, 1.3), *a.shape) for name, a in shapes.items()}
    captions = (np.arange(n * t) % 3).reshape(n, t)
    features = spaced(case[cell]["features"], n, d)
    loss, _ = loss_and_gradients(features, captions, parameters, cell, null=case["null"])
    assert loss == pytest.approx(case[cell]["loss"], abs=1e-10)


@pytest.mark.parametrize(("cell", "attention"), VARIANTS)
def test_captioner_gradients(cell, attention):
    features, parameters = drawn(cell, attention)
    captions = np.array([[START, 4, 5, 6, END], [START, 6, END, NULL, NULL]])
    captions.setflags(write=False)
    _, gradients = loss_and_gradients(features, captions, parameters, cell, attention=attention)
    assert gradients.keys() == parameters.keys()
    for name, array in parameters.items():

        def loss(a, name=name):
            changed = {**parameters, name: a}
            return loss_and_gradients(features, captions, changed, cell, attention=attention)[0]

        np.testing.assert_allclose(gradients[name], central_difference(loss, array), rtol=2e-5, atol=1e-8)


@pytest.mark.parametrize(("cell", "attention"), VARIANTS)
def test_padding_changes_nothing(cell, attention):
    features, parameters = drawn(cell, attention)
    captions = np.array([[START, 4, 5, END], [START, 6, 3, END]])
    padded = np.pad(captions, ((0, 0), (0, 3)), constant_values=NULL)
    loss, gradients = loss_and_gradients(features, captions, parameters, cell, attention=attention)
    loss_padded, gradients_padded = loss_and_gradients(features, padded, parameters, cell, attention=attention)
    assert loss_padded == pytest.approx(loss, rel=1e-14)
    for name in gradients:
        np.testing.assert_allclose(gradients_padded[name], gradients[name], rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize(("cell", "attention"), VARIANTS)
def test_steps_give_the_probabilities_that_the_loss_is_made_of(cell, attention):
    features, parameters = drawn(cell, attention, 3)
    captions = np.array([[START, 4, 5, END], [START, 6, 3, END]])
    running = first_state(features, parameters, cell, attention)
    total = 0.0
    for t in range(3):
        scores, running, shares = step(captions[:, t], running, parameters, cell, attention)
        assert (shares is None) == (attention is None)
        if shares is not None:
            np.testing.assert_allclose(shares.sum(1), 1)
        log_p = functional.log_softmax(torch.tensor(scores), 1).numpy()
        total -= log_p[[0, 1], captions[:, t + 1]].sum()
    loss, _ = loss_and_gradients(features, captions, parameters, cell, attention=attention)
    assert total / 2 == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("attention", [None, "additive"])
def test_rows_of_a_running_captioner(attention):
    """Beams are picked and repeated: the copy goes on exactly as the original."""
    features, parameters = drawn("lstm", attention, 4, pictures=3)
    _, running, _ = step(
        np.array([1, 1, 1]), first_state(features, parameters, "lstm", attention), parameters, "lstm", attention
    )
    picked = running.rows(np.array([2, 0, 2, 2]))
    scores, *_ = step(np.array([4, 5, 6]), running, parameters, "lstm", attention)
    again, *_ = step(np.array([6, 4, 6, 5]), picked, parameters, "lstm", attention)
    np.testing.assert_allclose(again[:3], scores[[2, 0, 2]], rtol=1e-13)
    assert not np.allclose(again[3], again[0])


# Sampling


def a_speller():
    """A captioner that says word k + 1 after word k, whatever the picture: h holds only the last word read."""
    words = 6
    return {
        "W_proj": np.zeros((1, words)),
        "b_proj": np.zeros(words),
        "W_embed": np.eye(words),
        "Wx": 5 * np.eye(words),
        "Wh": np.zeros((words, words)),
        "b": np.zeros(words),
        "W_vocab": np.roll(np.eye(words), 1, axis=1),
        "b_vocab": np.zeros(words),
    }


def test_the_next_input_is_the_word_just_drawn():
    """With <START> at every step it would say 2 for ever."""
    said = sample(np.zeros((2, 1)), a_speller(), "rnn", 7, start=1, end=None)
    np.testing.assert_array_equal(said, [[2, 3, 4, 5, 0, 1, 2]] * 2)


def test_nothing_is_said_after_the_end():
    said = sample(np.zeros((1, 1)), a_speller(), "rnn", 5, start=1, end=3, null=0)
    np.testing.assert_array_equal(said, [[2, 3, 0, 0, 0]])


def test_one_picture_that_ends_does_not_stop_the_others():
    """The picture decides the first word here; only the first caption ends at once."""
    parameters = a_speller() | {"W_proj": np.zeros((2, 6)), "Wh": 10 * np.eye(6)}
    parameters["W_proj"][0, 1] = parameters["W_proj"][1, 2] = 100.0  # read as if the last word had been 1, or 2
    parameters["Wx"] = np.zeros((6, 6))
    said = sample(np.eye(2), parameters, "rnn", 3, start=1, end=2, null=0)
    np.testing.assert_array_equal(said, [[2, 0, 0], [3, 3, 3]])


# Training


def test_adam_is_torchs():
    rng = np.random.default_rng(5)
    parameters, memory = {"a": rng.standard_normal((3, 2)), "b": rng.standard_normal(4)}, AdamMemory()
    theirs = {name: torch.tensor(a, requires_grad=True) for name, a in parameters.items()}
    optimizer = torch.optim.Adam(theirs.values(), lr=0.03)
    for _ in range(5):
        gradients = {name: 10 * rng.standard_normal(a.shape) for name, a in parameters.items()}
        for name, tensor in theirs.items():
            tensor.grad = torch.tensor(gradients[name])
        norm = torch.nn.utils.clip_grad_norm_(theirs.values(), 5.0)
        assert norm > 5
        optimizer.step()
        parameters, memory = adam_step(parameters, clipped(gradients, 5.0), memory, 0.03)
    for name, tensor in theirs.items():
        np.testing.assert_allclose(parameters[name], tensor.detach(), rtol=1e-10)


def test_short_gradients_are_left_alone():
    np.testing.assert_array_equal(clipped({"a": np.array([3.0, 4.0])}, 6.0)["a"], [3, 4])


@pytest.mark.parametrize(("cell", "attention"), [("rnn", None), ("lstm", None), ("gru", None), ("lstm", "additive")])
def test_over_fitting_a_few_captions(cell, attention):
    """The course's check on a small scale: the loss goes to almost nothing, and the captions are said by heart."""
    rng = np.random.default_rng(6)
    pictures, words, length, places = 8, 30, 6, 4
    parameters = initial_parameters(
        rng, channels=12, embedding=16, hidden=32, words=words, cell=cell, attention=attention
    )
    features = rng.standard_normal((pictures, 12) if attention is None else (pictures, places, 12))
    captions = np.full((pictures, length + 2), NULL)
    captions[:, 0] = START
    for k in range(pictures):
        n = length - k % 3
        captions[k, 1 : n + 1] = rng.integers(4, words, n)
        captions[k, n + 1] = END
    memory, losses = AdamMemory(), []
    for _ in range(150):
        loss, gradients = loss_and_gradients(features, captions, parameters, cell, attention=attention)
        parameters, memory = adam_step(parameters, gradients, memory, 1e-2)
        losses.append(loss)
    counted = (captions[:, 1:] != NULL).sum() / pictures
    assert losses[0] == pytest.approx(counted * np.log(words), rel=0.2)
    assert losses[-1] < 0.1
    said = sample(features, parameters, cell, length + 1, attention=attention)
    np.testing.assert_array_equal(said, captions[:, 1:])


@pytest.mark.parametrize(("cell", "hidden", "most"), [("rnn", 128, 0.3), ("lstm", 192, 3)])
def test_over_fitting_as_in_the_course(cell, hidden, most):
    """Fifty captions in 100 steps at 5e-3: 77 → 0.07 (RNN), 80 → 0.12 (LSTM) there; here are fewer units, for time."""
    rng = np.random.default_rng(7)
    pictures, words, length = 50, 1004, 15
    parameters = initial_parameters(rng, channels=hidden, embedding=hidden // 2, hidden=hidden, words=words, cell=cell)
    parameters = {name: array.astype(np.float32) for name, array in parameters.items()}
    features = rng.standard_normal((pictures, hidden)).astype(np.float32)
    captions = np.full((pictures, length + 2), NULL)
    captions[:, 0] = START
    for caption, n in zip(captions, rng.integers(6, length, pictures), strict=True):
        caption[1 : n + 1] = rng.integers(4, words, n)
        caption[n + 1] = END
    memory, losses = AdamMemory(), []
    for _ in range(50):
        for batch in np.split(rng.permutation(pictures), 2):
            loss, gradients = loss_and_gradients(features[batch], captions[batch], parameters, cell)
            parameters, memory = adam_step(parameters, gradients, memory, 5e-3)
            losses.append(loss)
    assert losses[0] == pytest.approx(78, abs=6)
    assert np.mean(losses[-2:]) < most
