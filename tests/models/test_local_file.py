"""Weights files from users: what fits is taken, everything else is refused in one line and without being run."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cvtool.errors import BadInputError
from cvtool.models.loader import Model, load
from cvtool.models.sources.local_file import fill, read_state_dict


@pytest.fixture(scope="module")
def squeezenet() -> dict[str, Tensor]:
    """A random state dict of torchvision's smallest network."""
    from torchvision.models import squeezenet1_1

    torch.manual_seed(3)
    return {key: value.clone() for key, value in squeezenet1_1(weights=None).state_dict().items()}


def holds(model: Model, expected: dict[str, Tensor]) -> bool:
    state = model.module.state_dict()
    return state.keys() == expected.keys() and all(torch.equal(state[key], expected[key]) for key in state)


def test_safetensors(tmp_path: Path, squeezenet: dict[str, Tensor]) -> None:
    file = tmp_path / "w.safetensors"
    save_file(squeezenet, file)
    model = load("squeezenet1_1", weights=file)
    assert holds(model, squeezenet)
    assert model.card.source == "file"
    assert model.module(model.normalize(torch.rand(1, 3, 64, 64))).shape == (1, 1000)


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "model", "module.", "both"])
def test_pth_in_its_usual_wrappings(tmp_path: Path, squeezenet: dict[str, Tensor], wrap: str) -> None:
    prefixed = {f"module.{key}": value for key, value in squeezenet.items()}
    content = {
        "plain": squeezenet,
        "state_dict": {"epoch": 3, "state_dict": squeezenet},
        "model": {"model": squeezenet, "best": 0.5},
        "module.": prefixed,
        "both": {"state_dict": prefixed, "optimizer": {"lr": 0.1}},
    }[wrap]
    file = tmp_path / "w.pth"
    torch.save(content, file)
    assert holds(load("squeezenet1_1", weights=file), squeezenet)


def test_legacy_pth_and_half_precision(tmp_path: Path, squeezenet: dict[str, Tensor]) -> None:
    file = tmp_path / "w.pt"
    torch.save({k: v.half() for k, v in squeezenet.items()}, file, _use_new_zipfile_serialization=False)
    model = load("squeezenet1_1", weights=file)
    assert holds(model, {k: v.half().float() for k, v in squeezenet.items()})


def test_a_wrong_shape_is_named(tmp_path: Path, squeezenet: dict[str, Tensor]) -> None:
    file = tmp_path / "w.safetensors"
    save_file({**squeezenet, "classifier.1.bias": torch.zeros(7)}, file)
    with pytest.raises(BadInputError, match=r"classifier\.1\.bias is 7 instead of 1000\. Give"):
        load("squeezenet1_1", weights=file)


def test_another_networks_weights_are_named_and_counted(tmp_path: Path, squeezenet: dict[str, Tensor]) -> None:
    file = tmp_path / "w.safetensors"
    save_file({f"x.{key}": value for key, value in squeezenet.items()}, file)
    with pytest.raises(BadInputError, match=rf"features\.0\.weight is missing.*{2 * len(squeezenet)} differences"):
        load("squeezenet1_1", weights=file)


def test_a_refused_file_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    before = module.weight.clone()
    with pytest.raises(BadInputError):
        fill(module, {"weight": torch.zeros(2, 2), "bias": torch.zeros(3)}, tmp_path / "w.pth", "linear")
    assert torch.equal(module.weight, before)


def test_bundled_network_takes_a_users_file(tmp_path: Path) -> None:
    state = load("efficientnet-lite0").module.state_dict()
    state = {key: value.clone() for key, value in state.items() if not key.endswith("num_batches_tracked")}
    state["classifier.bias"] += 1
    file = tmp_path / "tuned.safetensors"
    save_file(state, file)
    model = load("efficientnet-lite0", weights=file)
    assert torch.equal(model.module.state_dict()["classifier.bias"], state["classifier.bias"])
    assert model.module(torch.zeros(1, 3, 64, 64)).isfinite().all()


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("kind", ["zip", "legacy", "raw pickle"])
def test_pickled_code_is_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    file, mark = tmp_path / "bomb.pth", tmp_path / "exploded"
    content = {"state_dict": {"a": torch.zeros(1)}, "extra": Bomb(mark)}
    if kind == "raw pickle":
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(BadInputError, match="pickled Python objects, which are not run"):
        read_state_dict(file)
    assert not mark.exists()
    torch.load(file, weights_only=False) if kind != "raw pickle" else pickle.loads(file.read_bytes())
    assert mark.exists()  # it was live


def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "module.pth"
    torch.save(nn.Linear(2, 2), file)
    with pytest.raises(BadInputError, match="state_dict"):
        read_state_dict(file)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("damage", ["empty", "text", "half", "noise"])
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, suffix: str, damage: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    tensors = {"a": torch.arange(1000.0)}
    save_file(tensors, whole) if suffix == ".safetensors" else torch.save(tensors, whole)
    content = {
        "empty": b"",
        "text": b"not weights at all\n" * 20,
        "half": whole.read_bytes()[: whole.stat().st_size // 2],
        "noise": bytes(range(256)) * 8,
    }[damage]
    assert torch.equal(read_state_dict(whole)["a"], tensors["a"])
    with pytest.raises(BadInputError) as caught:
        read_state_dict(written(tmp_path / f"bad{suffix}", content))
    assert "\n" not in str(caught.value)
    assert f"bad{suffix}" in str(caught.value)


def test_a_compressed_file_is_refused_for_that(tmp_path: Path) -> None:
    """Zip's compression, which could make a small file take all memory."""
    torch.save({"a": torch.zeros(100_000)}, tmp_path / "plain.pth")
    deflated = zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, deflated as small:
        for name in plain.namelist():
            small.writestr(name, plain.read(name))
    with pytest.raises(BadInputError, match=r"'.*small\.pth' cannot be read .* \(it is compressed"):
        read_state_dict(tmp_path / "small.pth")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}])
def test_files_without_tensors_are_refused(tmp_path: Path, content: object) -> None:
    file = tmp_path / "w.pth"
    torch.save(content, file)
    with pytest.raises(BadInputError, match="holds no tensors"):
        read_state_dict(file)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "no.pth", tmp_path):
        with pytest.raises(BadInputError, match="No weights file"):
            load("squeezenet1_1", weights=path)
