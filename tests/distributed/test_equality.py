"""One process and two come to the same end: losses, weights, and what all processes must agree on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from distributed.scenarios import SCENARIOS, STEPS
from launching import ends, start

from cvtool.distributed import ALONE

FREE = {
    **dict.fromkeys(("gan", "gan, gradient penalty", "gan, neighbours"), ("head.bias",)),
    "gan, hinge": ("bias", "running_mean"),
}
"""What has no gradient but rounding, of which Adam makes steps all the same: a bias that cancels in the difference of
real and generated, or in the batch norm after it. Nothing that is learned depends on it."""
SHIFTED = {"gan, gradient penalty": 3}
"""The number that such a bias shifts: the mean logit of generated pictures, `loss_g`."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each of two processes came to."""
    folder = tmp_path_factory.mktemp("both")
    for code, out, err in ends(start([Path(__file__).with_name("scenarios.py"), folder], 2)):
        assert code == 0, err
        assert out == ""
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", SCENARIOS)
def test_two_processes_do_what_one_does(name: str, both: list[dict]) -> None:
    alone = SCENARIOS[name](ALONE)
    first, second = (each[name] for each in both)
    assert len(alone["losses"]) == STEPS
    for mine, theirs in zip(alone["losses"], first["losses"], strict=True):
        if name in SHIFTED:
            mine, theirs = (each[: SHIFTED[name]] for each in (mine, theirs))
        assert theirs == pytest.approx(mine, rel=1e-5, abs=1e-5)
    for key, value in alone["weights"].items():
        assert torch.equal(first["weights"][key], second["weights"][key]), key
        if not key.endswith(FREE.get(name, ("nothing",))):
            torch.testing.assert_close(first["weights"][key], value, rtol=1e-3, atol=1e-4, msg=key)
    assert (alone["told"] > 0, first["told"], second["told"]) == (True, alone["told"], 0)
    measured = "cider" if "cider" in alone else "best"
    assert first[measured] == second[measured]
    assert math.isclose(first[measured], alone[measured], rel_tol=1e-3, abs_tol=1e-3)


def test_a_budget_of_time_ends_all_at_the_same_step(both: list[dict]) -> None:
    first, second = (each["clock"] for each in both)
    assert first == second
    assert 0 < first[0] <= first[1]  # less where it turned out slower than planned


def test_all_know_when_a_run_has_collapsed(both: list[dict]) -> None:
    first, second = (each["collapse"] for each in both)
    assert first == second
    assert first.startswith("The run ended: ")


def test_what_processes_tell_each_other(both: list[dict]) -> None:
    for each in (one["told"] for one in both):
        assert each["sums"] == {"a": 3.0, "b": 0.2}
        assert float(each["means"]["mean"]) == pytest.approx(2.0)
        assert each["any"] == [True, False]
        assert each["gathered"].tolist() == [0, 1, 2, 3, 4]
        assert float(each["deviation"]) == pytest.approx(2**0.5)
        known, late, nowhere = each["gradients"]
        assert torch.equal(known, torch.full((3, 2), 3.0))
        assert torch.equal(late, torch.ones(2))
        assert nowhere is None  # so that weight decay leaves it alone, as it does in one process
        assert each["strides"] == [[1, 3]]
        assert torch.equal(each["main"].pop("tensor"), torch.tensor([0.0, 1.0]))
        assert each["main"] == {"text": "0", "none": None, "list": [1, 2.5]}
