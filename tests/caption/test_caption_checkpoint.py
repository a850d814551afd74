"""Captioners in files: what comes back, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from captioners import CHANNELS, VOCABULARY, some_features, tiny
from safetensors.torch import load_file, save_file

from cvtool.caption.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from cvtool.caption.decoding import decode
from cvtool.caption.options import DecodeOptions
from cvtool.caption.service import captioners
from cvtool.caption.vocabulary import SPECIALS, Vocabulary
from cvtool.errors import BadInputError


def checkpoint_of(cell: str = "lstm", **shape) -> Checkpoint:
    return Checkpoint(tiny(cell, **shape), VOCABULARY, "some-network", "f" * 64, 17, {"cider": 0.5, "epoch": 3})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "c.safetensors", checkpoint_of())
    return tmp_path / "c.safetensors"


def header(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object]) -> None:
    """Change the record or the tensors of a file."""
    record, tensors = json.loads(header(path)["caption"]), load_file(path)
    change(record, tensors)
    save_file(tensors, path, {"caption": json.dumps(record)})


@pytest.mark.parametrize(
    ("cell", "shape"),
    [("lstm", {"layers": 3}), ("gru", {"attention": False, "tie": False}), ("rnn", {"dropout": 0.4, "tie": False})],
)
def test_what_is_written_comes_back(tmp_path: Path, cell: str, shape: dict) -> None:
    wanted = checkpoint_of(cell, **shape)
    write_checkpoint(tmp_path / "c.safetensors", wanted, note='{"command": "x"}')
    found = read_checkpoint(tmp_path / "c.safetensors")
    assert found.vocabulary == wanted.vocabulary
    assert found.captioner.options == wanted.captioner.options
    assert found.captioner.options.cell is wanted.captioner.options.cell
    assert (found.model, found.fingerprint, found.longest) == ("some-network", "f" * 64, 17)
    assert found.facts == {"cider": 0.5, "epoch": 3}
    for name, tensor in wanted.captioner.state_dict().items():
        assert torch.equal(found.captioner.state_dict()[name], tensor)
    assert not found.captioner.training
    assert not any(parameter.requires_grad for parameter in found.captioner.parameters())
    features = some_features(3)
    one, other = (
        decode(each, each.see_pictures(features), DecodeOptions(longest=6))
        for each in (wanted.captioner, found.captioner)
    )
    assert one == other
    assert header(tmp_path / "c.safetensors")["cvtool"] == '{"command": "x"}'


def test_halves_stay_halves_in_the_file(tmp_path: Path) -> None:
    wanted = checkpoint_of()
    for name, dtype in (("whole", torch.float32), ("half", torch.float16)):
        write_checkpoint(tmp_path / name, wanted, dtype=dtype)
        assert {tensor.dtype for tensor in load_file(tmp_path / name).values()} == {dtype}
    bytes_of_weights = sum(2 * tensor.numel() for tensor in wanted.captioner.state_dict().values())
    assert (tmp_path / "whole").stat().st_size - (tmp_path / "half").stat().st_size >= bytes_of_weights
    found = read_checkpoint(tmp_path / "half").captioner.state_dict()
    for name, tensor in wanted.captioner.state_dict().items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], tensor.half().float())


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_checkpoint(tmp_path / name, checkpoint_of())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_cut_anywhere(path: Path) -> None:
    data = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(BadInputError, match=r"c\.safetensors"):
            read_checkpoint(path)


def test_other_files(tmp_path: Path, path: Path) -> None:
    with pytest.raises(BadInputError, match="no such file"):
        read_checkpoint(tmp_path / "absent")
    (tmp_path / "text").write_text("no checkpoint " * 100)
    save_file({"x": torch.zeros(2)}, tmp_path / "plain")
    save_file({"x": torch.zeros(2)}, tmp_path / "other", {"cvtool": "{}", "gan": "{}"})
    torch.save({"x": torch.zeros(2)}, tmp_path / "pickle")
    (tmp_path / "huge").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    for name in ("text", "plain", "other", "pickle", "huge"):
        with pytest.raises(BadInputError, match="is not a checkpoint of a captioner") as caught:
            read_checkpoint(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_vocabulary_that_does_not_fit(path: Path) -> None:
    rewrite(path, lambda record, tensors: record["words"].append("zebra"))
    with pytest.raises(BadInputError, match=r"its vocabulary has 17 words, its weights are for 16"):
        read_checkpoint(path)


HOSTILE: dict[str, Callable[[dict[str, Any], dict[str, torch.Tensor]], object]] = {
    "a word twice": lambda r, t: r.update(words=[*r["words"][:-1], "dog"]),
    "no specials": lambda r, t: r.update(words=["x", *r["words"][1:]]),
    "words are numbers": lambda r, t: r.update(words=[*SPECIALS, *range(12)]),
    "words are lists": lambda r, t: r.update(words=[*SPECIALS, *[[]] * 12]),
    "words are a text": lambda r, t: r.update(words="a dog runs"),
    "no words": lambda r, t: r.pop("words"),
    "no options": lambda r, t: r.pop("options"),
    "options are a list": lambda r, t: r.update(options=[1]),
    "an unknown option": lambda r, t: r["options"].update(speed=3),
    "a missing option": lambda r, t: r["options"].pop("cell"),
    "an unknown cell": lambda r, t: r["options"].update(cell="transformer"),
    "a cell that is a list": lambda r, t: r["options"].update(cell=["lstm"]),
    "another cell": lambda r, t: r["options"].update(cell="gru"),
    "more layers": lambda r, t: r["options"].update(layers=2),
    "very many layers": lambda r, t: r["options"].update(layers=10**9),
    "no layers": lambda r, t: r["options"].update(layers=0),
    "half a layer": lambda r, t: r["options"].update(layers=1.5),
    "another width": lambda r, t: r["options"].update(hidden=9),
    "a huge width": lambda r, t: r["options"].update(hidden=10**12),
    "a gigantic width": lambda r, t: r["options"].update(hidden=10**30),
    "a negative width": lambda r, t: r["options"].update(hidden=-8),
    "a width in words": lambda r, t: r["options"].update(hidden="eight"),
    "too much dropout": lambda r, t: r["options"].update(dropout=7),
    "attention gone": lambda r, t: r["options"].update(attention=False),
    "not tied": lambda r, t: r["options"].update(tie=False),
    "other channels": lambda r, t: r.update(channels=CHANNELS + 1),
    "infinite channels": lambda r, t: r.update(channels=float("inf")),
    "no channels": lambda r, t: r.update(channels=None),
    "longest of nothing": lambda r, t: r.update(longest=0),
    "longest in words": lambda r, t: r.update(longest="long"),
    "infinitely long": lambda r, t: r.update(longest=float("inf")),
    "facts are a number": lambda r, t: r.update(facts=3),
    "a tensor gone": lambda r, t: t.pop("first.weight"),
    "a tensor more": lambda r, t: t.update(extra=torch.zeros(1)),
    "no embedding": lambda r, t: t.pop("embed.weight"),
    "a flat embedding": lambda r, t: t.update({"embed.weight": torch.zeros(())}),
    "another embedding": lambda r, t: t.update({"embed.weight": torch.zeros(16, 9)}),
    "components without a mean": lambda r, t: t.update({"pca.components": torch.zeros(CHANNELS, 9)}),
    "a mean without components": lambda r, t: t.update({"pca.mean": torch.zeros(9)}),
    "more components than channels": lambda r, t: t.update(
        {"pca.mean": torch.zeros(9), "pca.components": torch.zeros(CHANNELS + 1, 9)}
    ),
    "components of another length": lambda r, t: t.update(
        {"pca.mean": torch.zeros(9), "pca.components": torch.zeros(CHANNELS, 8)}
    ),
    "a mean that is a table": lambda r, t: t.update(
        {"pca.mean": torch.zeros(3, 9), "pca.components": torch.zeros(CHANNELS, 3)}
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_headers_that_lie(path: Path, name: str) -> None:
    rewrite(path, HOSTILE[name])
    with pytest.raises(BadInputError, match=r"c\.safetensors'") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "5", "null", "[" * 100000, '{"a": 1}', "{"])
def test_records_that_are_none(path: Path, text: str) -> None:
    save_file(load_file(path), path, {"caption": text})
    with pytest.raises(BadInputError, match="is not a checkpoint of a captioner"):
        read_checkpoint(path)


def test_captioners_that_belong_together(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", checkpoint_of())
    write_checkpoint(tmp_path / "b", checkpoint_of("gru"))
    words = (*VOCABULARY.words[:-1], "ice")
    write_checkpoint(tmp_path / "words", replace(checkpoint_of(), vocabulary=Vocabulary(words)))
    write_checkpoint(tmp_path / "features", replace(checkpoint_of(), fingerprint="0" * 64))
    found = captioners([tmp_path / "a", tmp_path / "b"])
    assert [each.captioner.options.cell.value for each in found] == ["lstm", "gru"]
    for name in ("words", "features"):
        with pytest.raises(BadInputError, match=f"{name}' has other words or features than"):
            captioners([tmp_path / "a", tmp_path / "b", tmp_path / name])
