"""Parts of the work of several processes, in one: shares, masks, norms, devices, and what torchrun says."""

from __future__ import annotations

import copy
import json
import threading
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as some
from torch import nn

import cvtool.cli.main as program
from cvtool.cli.processes import goes_on
from cvtool.distributed import ALONE, Dropout, Group, Share, _round, device_of, joined
from cvtool.errors import UsageError
from cvtool.gan.datasets import Pictures
from cvtool.gan.networks.shared_norms import SharedBatchNorm, share_batch_norms
from cvtool.gan.options import Arch, NetworkOptions, TrainOptions
from cvtool.gan.training import prepare
from cvtool.launch import Launch, identity, launch


class Echo(Group):
    """A group of two whose other process has nothing to add."""

    def __init__(self) -> None:
        super().__init__(Launch(0, 2, 0, 2))

    def sum_(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def from_main(self, value):
        return value


@given(some.integers(0, 200), some.integers(1, 50))
def test_shares_are_all_rows_once_and_even(total: int, size: int) -> None:
    shares = [Group(Launch(rank, size)).share(total) for rank in range(size)]
    assert [row for share in shares for row in range(total)[share.rows]] == list(range(total))
    counts = [share.count for share in shares]
    assert max(counts) - min(counts) <= 1
    if total:
        assert sum(share.weight for share in shares) == pytest.approx(1)


@pytest.mark.parametrize("strided", [False, True])
def test_masks_of_shares_are_those_of_the_whole(strided: bool) -> None:
    x = torch.randn(5, 7, 3)
    if strided:  # as a recurrent layer gives it
        x = x.transpose(0, 1).contiguous().transpose(0, 1)
    torch.manual_seed(1)
    whole = Dropout(0.4)(x)
    torch.manual_seed(1)
    assert torch.equal(whole, nn.Dropout(0.4)(x.contiguous()))
    parts = []
    for rank in range(3):
        layer = Dropout(0.4)
        layer.share = Group(Launch(rank, 3)).share(5)
        torch.manual_seed(1)
        parts.append(layer(x[layer.share.rows]))
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize(("kind", "shape"), [(nn.BatchNorm1d, (6, 4)), (nn.BatchNorm2d, (3, 4, 5, 2))])
def test_shared_norm_is_torchs(kind: type[nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    theirs = kind(4)
    nn.init.normal_(theirs.weight)
    nn.init.normal_(theirs.bias)
    twin = copy.deepcopy(theirs)
    ours = SharedBatchNorm(twin, Echo())
    assert ours.weight is twin.weight
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for _ in range(3):
        x = (torch.randn(shape) * 3 + 100).requires_grad_()
        same = x.detach().clone().requires_grad_()
        weight = torch.randn(shape)
        (theirs(x) * weight).sum().backward()
        (ours(same) * weight).sum().backward()
        torch.testing.assert_close(ours(same), theirs(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(same.grad, x.grad, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-3, atol=1e-3)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_norms_are_replaced_at_any_depth_and_weights_stay() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.BatchNorm1d(3)))
    before = list(network.parameters())
    share_batch_norms(network, ALONE)
    assert type(network[1][0]) is nn.BatchNorm1d
    share_batch_norms(network, Echo())
    assert isinstance(network[1][0], SharedBatchNorm)
    assert all(one is other for one, other in zip(network.parameters(), before, strict=True))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch):
    """Set torchrun's variables."""

    def start(**variables: object) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return start


def test_what_torchrun_says(started) -> None:
    assert launch() is None
    started(RANK=3, WORLD_SIZE=4, LOCAL_RANK=1, LOCAL_WORLD_SIZE=2, TORCHELASTIC_RESTART_COUNT=1)
    assert launch() == Launch(3, 4, 1, 2, 1)
    started(TORCHELASTIC_RUN_ID="job7")
    assert identity() == "job7"


@pytest.mark.parametrize("variables", [{"RANK": "x", "WORLD_SIZE": 2}, {"RANK": 2, "WORLD_SIZE": 2}])
def test_variables_that_make_no_sense(started, variables: dict) -> None:
    started(**variables)
    with pytest.raises(UsageError, match="WORLD_SIZE"):
        launch()


def test_one_process_of_torchrun_is_alone(started) -> None:
    started(RANK=0, WORLD_SIZE=1)
    with joined("cpu") as group:
        assert group is ALONE


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Launch(5, 8, 1, 4)
    assert device_of("cpu", place) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert device_of("auto", place) == device_of("cuda", place) == torch.device("cuda", 1)
    with pytest.raises(UsageError, match="one GPU"):
        device_of("cuda:2", place)
    assert device_of("cuda:2", Launch(5, 8)) == torch.device("cuda", 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="nproc-per-node 1"):
        device_of("auto", place)


def test_when_a_run_goes_on_by_itself(started, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"launch": "job7"}))
    assert goes_on(tmp_path, resume=True, overwrite=False)
    assert not goes_on(tmp_path, resume=False, overwrite=False)  # nobody launched it
    started(RANK=0, WORLD_SIZE=1, TORCHELASTIC_RUN_ID="job8")
    assert not goes_on(tmp_path, resume=False, overwrite=False)  # another launch
    started(TORCHELASTIC_RUN_ID="job7")
    assert goes_on(tmp_path, resume=False, overwrite=True)  # this launch began it, and has overwritten already
    started(TORCHELASTIC_RUN_ID="job8", TORCHELASTIC_RESTART_COUNT=1)
    assert goes_on(tmp_path, resume=False, overwrite=False)
    assert not goes_on(tmp_path, resume=False, overwrite=True)  # killed before it had overwritten
    config.unlink()
    assert not goes_on(tmp_path, resume=False, overwrite=False)  # killed before it had begun


class Model:
    """As much of a feature model as a run asks for before it begins."""

    name, device = "none", torch.device("cpu")

    def features(self, pictures, *, progress=None):
        return pictures.reshape(len(pictures), -1)[:, :8].astype("float32")


@pytest.mark.parametrize(
    ("networks", "batch", "text"),
    [({}, 1, "too small for 2"), ({"arch": Arch.dcgan, "minibatch_std": True}, 12, "multiple of 8")],
)
def test_batches_that_cannot_be_shared(networks: dict, batch: int, text: str) -> None:
    pixels = torch.randint(0, 255, (40, 8, 8, 1), dtype=torch.uint8).numpy()
    data = Pictures.of(pixels, None, (), "noise")
    options = TrainOptions(batch=batch, samples=100, precision="fp32")
    with pytest.raises(UsageError, match=text):
        prepare(data, NetworkOptions(**networks), options, Model(), group=Echo())


def test_a_share_of_nothing_else_is_drawn() -> None:
    share = Share(10, 4, 7)
    assert share.draw(torch.arange).tolist() == [4, 5, 6]
    assert (share.count, share.weight) == (3, 0.3)


def test_variables_that_make_no_sense_are_told_once(started, capsys: pytest.CaptureFixture[str]) -> None:
    started(RANK=3, WORLD_SIZE=2)
    assert program.run(["gan", "sample"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_commands_that_cannot_share(started, capsys: pytest.CaptureFixture[str]) -> None:
    started(RANK=0, WORLD_SIZE=2)
    assert program.run(["gan", "sample"]) == 2
    assert "runs in one process" in capsys.readouterr().err


def test_what_an_earlier_start_left_in_the_store_is_not_taken_up() -> None:
    """Everybody comes late or early, and a killed start has said hello, been answered, and come."""
    store = dist.HashStore()
    for key, value in {"hello/1": "old", "answer/old": "older", "come/older/1": "", "hello/2": "old"}.items():
        store.set(key, value)
    found: dict[int, str] = {}

    def start(rank: int) -> None:
        found[rank] = _round(store, rank, 3)

    for late in (0, 1, 2):
        before = found.get(0)
        found.clear()
        threads = [threading.Thread(target=start, args=(rank,)) for rank in range(3) if rank != late]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        assert 0 not in found
        start(late)
        for thread in threads:
            thread.join(20)
        assert len(found) == 3
        assert len(set(found.values())) == 1
        assert found[0] not in (before, "old", "older")
