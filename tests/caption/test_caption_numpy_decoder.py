"""The NumPy decoder says what the torch captioner says, for every shape of it."""

import numpy as np
import pytest
import torch

from cvtool.caption.decoder import Captioner
from cvtool.caption.options import Cell, ModelOptions
from cvtool.caption.vocabulary import END, NULL, START
from cvtool.reference import captioning
from cvtool.reference.decoder import checkpoint_arrays, course_parameters, decoder_of, first_state, step

V, C, P, M, T = 13, 6, 4, 3, 5


def captioner_of(cell, **changes):
    torch.manual_seed(0)
    options = ModelOptions(**{"cell": Cell(cell), "hidden": 8, "embedding": 5, **changes})
    return Captioner(options, V, C).double().eval()


def arrays_of(captioner):
    return {name: tensor.numpy() for name, tensor in captioner.state_dict().items()}


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_same_scores_and_same_looks(cell, layers, attention, tie):
    captioner = captioner_of(cell, layers=layers, attention=attention, tie=tie)
    rng = np.random.default_rng(0)
    features, words = rng.standard_normal((M, P, C)), rng.integers(0, V, (M, T))
    with torch.no_grad():
        x, _, looked = captioner(captioner.see_pictures(torch.from_numpy(features)), torch.from_numpy(words)[:, None])
        expected = captioner.score(x)[:, 0].numpy()

    decoder = decoder_of(arrays_of(captioner), cell)
    standing = first_state(features, decoder)
    for t in range(T):
        scores, standing, shares = step(words[:, t], standing, decoder)
        np.testing.assert_allclose(scores, expected[:, t], rtol=1e-9, atol=1e-12)
        if attention:
            np.testing.assert_allclose(shares, looked[:, 0, t], rtol=1e-9)
        else:
            assert shares is None
            assert looked is None


@pytest.mark.parametrize("attention", [False, True])
def test_rows_are_picked_and_repeated(attention):
    decoder = decoder_of(arrays_of(captioner_of("lstm", attention=attention)), "lstm")
    features = np.random.default_rng(1).standard_normal((M, P, C))
    _, standing, _ = step(np.array([START] * M), first_state(features, decoder), decoder)
    scores, *_ = step(np.array([4, 5, 6]), standing, decoder)
    again, *_ = step(np.array([6, 4, 6]), standing.rows(np.array([2, 0, 2])), decoder)
    np.testing.assert_allclose(again, scores[[2, 0, 2]], rtol=1e-13)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_what_numpy_trained_is_a_checkpoint(cell):
    """The course's captioner loads into torch's, has the same loss there, and comes back unchanged."""
    rng = np.random.default_rng(2)
    parameters = captioning.initial_parameters(rng, channels=C, embedding=5, hidden=8, words=V, cell=cell)
    parameters = {name: array + 0.2 * rng.standard_normal(array.shape) for name, array in parameters.items()}
    features = rng.standard_normal((2, C))
    captions = np.array([[START, 4, 5, 6, END], [START, 7, END, NULL, NULL]])
    loss, _ = captioning.loss_and_gradients(features, captions, parameters, cell)

    captioner = captioner_of(cell, layers=1, attention=False, tie=False)
    arrays = checkpoint_arrays(parameters, cell)
    captioner.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    read, to_say = torch.from_numpy(captions[:, :-1]), torch.from_numpy(captions[:, 1:])
    with torch.no_grad():
        x, *_ = captioner(captioner.see_pictures(torch.from_numpy(features)[:, None]), read[:, None])
        scores = captioner.score(x)[:, 0].flatten(0, 1)
        theirs = torch.nn.functional.cross_entropy(scores, to_say.flatten(), ignore_index=NULL, reduction="sum") / 2
    assert loss == pytest.approx(theirs.item(), rel=1e-12)

    back = course_parameters(arrays, cell)
    assert back.keys() == parameters.keys()
    for name, array in parameters.items():
        np.testing.assert_array_equal(back[name], array)


def test_the_same_numbers_for_special_words():
    assert (captioning.NULL, captioning.START, captioning.END) == (NULL, START, END)
