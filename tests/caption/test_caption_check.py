"""``check``: agreement where the mathematics agree, and disagreement where it was broken on purpose."""

import dataclasses

import numpy as np
import pytest

from cvtool.caption import check as checking
from cvtool.caption.check import CHECKED, LARGEST_ERROR, Row, check, relative_error
from cvtool.errors import UnknownNameError
from cvtool.reference import recurrent


@pytest.mark.parametrize("seed", range(5))
def test_numpy_and_torch_agree(seed):
    rows = check(seed=seed)
    assert {row.cell for row in rows} == set(CHECKED)
    assert max(row.relative_error for row in rows) <= LARGEST_ERROR


@pytest.mark.parametrize("cell", ["rnn+scaled-dot", "rnn+additive", "gru+scaled-dot", "gru+additive"])
def test_attention_goes_with_every_cell(cell):
    assert max(row.relative_error for row in check([cell], seed=1)) <= LARGEST_ERROR


def test_every_weight_has_one_row():
    quantities = [row.quantity for row in check(["gru"])]
    captioner = {"d W_proj", "d b_proj", "d W_embed", "d W_vocab", "d b_vocab", "loss"}
    assert sorted(quantities) == sorted({"h", "d x", "d h0", "d Wx", "d Wh", "d b", "d bn"} | captioner)
    lstm = {row.quantity for row in check(["lstm+additive"])}
    assert {"d c0", "d annotations", "d W_annotations", "d W_query", "d v"} <= lstm


def test_the_same_seed_gives_the_same_table():
    assert check(["rnn"], 3) == check(["rnn"], 3)
    assert check(["rnn"], 3) != check(["rnn"], 4)


def test_a_wrong_derivative_is_found(monkeypatch):
    """One millionth too much in one of three gradients."""

    def careless(dnext, cache):
        dx, dstate, gradients = recurrent.rnn_step_backward(dnext, cache)
        return dx, dstate, {**gradients, "Wh": gradients["Wh"] * (1 + 1e-6)}

    broken = dataclasses.replace(recurrent.CELLS["rnn"], step_backward=careless)
    monkeypatch.setitem(recurrent.CELLS, "rnn", broken)
    wrong = {row.quantity for row in check(["rnn"]) if row.relative_error > LARGEST_ERROR}
    assert wrong == {"d Wh"}


def test_gates_in_torchs_order_are_found(monkeypatch):
    """The mistake that is easy to make: loading i, f, o, g as if it were i, f, g, o."""
    monkeypatch.setattr(
        checking,
        "to_torch_order",
        lambda cell, w: {"weight_ih": w["Wx"].T, "weight_hh": w["Wh"].T, "bias_ih": w["b"], "bias_hh": 0 * w["b"]},
    )
    assert {row.quantity: row.relative_error for row in check(["lstm"])}["h"] > 0.1


def test_relative_error_of_known_numbers():
    assert relative_error(np.array([1.0, 2.0]), np.array([1.0, 3.0])) == pytest.approx(1 / 5)
    assert relative_error(np.array([0.0]), np.array([1e-10])) == pytest.approx(1e-2)  # over 1e-8, not over itself
    assert np.isnan(relative_error(np.array([np.nan, 1.0]), np.array([0.0, 1.0])))
    with pytest.raises(ValueError, match="cannot be compared"):
        relative_error(np.zeros(3), np.zeros((3, 1)))


@pytest.mark.parametrize(("name", "message"), [("lsmt", "Nearest: lstm"), ("lstm+aditive", "Nearest: additive")])
def test_unknown_names(name, message):
    with pytest.raises(UnknownNameError, match=message):
        check([name])


def test_rows_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Row("rnn", "h", 0.0).cell = "gru"
