"""Painters in files: they come back as they were, and whatever else lies there is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cvtool import bundled
from cvtool.errors import BadInputError
from cvtool.stylize.instant.checkpoint import Checkpoint, bundled_painter, read_checkpoint, write_checkpoint
from cvtool.stylize.instant.network import Painter
from cvtool.stylize.instant.options import PainterOptions
from cvtool.tensor_files import decode_tensors, write_tensors

OPTIONS = PainterOptions(width=8, embedding=8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "painter.safetensors"
    write_checkpoint(path, Checkpoint(Painter(OPTIONS), "contents", "styles", facts={"step": 3}))
    return path


def changed(path: Path, **more: object) -> Path:
    """The same file with another record."""
    record, tensors = decode_tensors(path.read_bytes(), "painter")
    write_tensors(path, tensors, "painter", {**record, **more}, "")
    return path


def test_what_is_written_comes_back(file: Path) -> None:
    torch.manual_seed(0)
    expected = Painter(OPTIONS).state_dict()
    found = read_checkpoint(file)
    assert found.painter.options == OPTIONS
    assert (found.contents, found.styles, dict(found.facts)) == ("contents", "styles", {"step": 3})
    assert all(torch.equal(value, expected[name]) for name, value in found.painter.state_dict().items())
    assert not any(weight.requires_grad for weight in found.painter.parameters())


def test_half_precision_halves_the_file(file: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.safetensors"
    write_checkpoint(half, read_checkpoint(file), dtype=torch.float16)
    assert half.stat().st_size < 0.55 * file.stat().st_size
    found, exact = read_checkpoint(half).painter.state_dict(), read_checkpoint(file).painter.state_dict()
    for name, value in found.items():
        torch.testing.assert_close(value, exact[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"options": {"width": 10**6, "embedding": 8}},
        {"options": {"width": 16, "embedding": 8}},
        {"options": {"width": 8}},
        {"options": {"width": "8", "embedding": 8}},
        {"options": 3},
        {"encoder": "0" * 64},
    ],
    ids=["huge", "other", "part", "text", "number", "encoder"],
)
def test_a_record_that_does_not_fit_is_refused(file: Path, change: dict[str, object]) -> None:
    with pytest.raises(BadInputError, match="painter"):
        read_checkpoint(changed(file, **change))


def test_broken_and_foreign_files_are_refused(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for number, data in enumerate((b"", b"nothing", whole[:100], whole[:-10])):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(data)
        with pytest.raises(BadInputError):
            read_checkpoint(path)
    save_file(load_file(file), tmp_path / "bare.safetensors")
    with pytest.raises(BadInputError, match="not a checkpoint of a painter"):
        read_checkpoint(tmp_path / "bare.safetensors")


def test_weights_that_are_no_numbers_are_refused(file: Path) -> None:
    record, tensors = decode_tensors(file.read_bytes(), "painter")
    tensors["color.bias"][0] = float("nan")
    write_tensors(file, tensors, "painter", record, "")
    with pytest.raises(BadInputError, match="not finite"):
        read_checkpoint(file)


@pytest.mark.skipif(not (bundled.asset_folder() / "painter.safetensors").exists(), reason="not trained yet")
def test_the_bundled_painter_is_small_and_whole() -> None:
    path = bundled_painter()
    assert path.stat().st_size <= 10e6
    assert read_checkpoint(path).facts["held_out_loss"] < 0.5
