"""Options that have no effect in a mode of ``cvtool stylize`` are refused; masks, limits and saved styles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from helpers import save
from PIL import Image

from cvtool.cli.main import app
from cvtool.cli.stylize_modes import NOT_WITH, ONLY_WITH

pytestmark = pytest.mark.usefixtures("cat", "wave")

VALUES = {"mask": "cat.png=all", "strengths": "30", "budget": "9s", "tile": "64", "max_memory": "1GB", "fps": "24"}
CHOICES = {"bits": "8", "format": "png", "optimizer": "adam", "recipe": "gatys", "init": "noise"}
NUMBERS = ("style_weight", "steps", "tv", "sheet_size", "frame_steps", "steadiness", "jobs")
PAIRS = [(mode, name) for mode, names in NOT_WITH.items() for name in names]


def words_for(name: str) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    if name in ("video", "instant", "recursive", "keep_profile", "content_mask_from_alpha", "null", "skip_existing"):
        return [option]
    if name in NUMBERS:
        return [option, "20"]
    return [option, {**VALUES, **CHOICES}.get(name, "x.png")]


def test_the_tables_name_parameters_of_the_command() -> None:
    known = {parameter.name for parameter in typer.main.get_command(app).commands["stylize"].params}  # type: ignore[attr-defined]
    assert {*NOT_WITH, *ONLY_WITH, *ONLY_WITH.values(), *(name for _, name in PAIRS)} <= known


@pytest.mark.parametrize(("mode", "name"), PAIRS, ids=lambda value: value)
def test_what_has_no_effect_is_refused(cvtool, painter, mode: str, name: str) -> None:
    done = cvtool("stylize", "cat.png", "wave.png", *words_for(mode), *words_for(name))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "does not go with" in done.err
    assert painter.calls == []


@pytest.mark.parametrize("name", ONLY_WITH)
def test_what_belongs_to_a_mode_is_refused_without_it(cvtool, painter, name: str) -> None:
    done = cvtool("stylize", "cat.png", "wave.png", *words_for(name))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"is for --{ONLY_WITH[name].replace('_', '-')} only" in done.err


def mask(name: str, size: tuple[int, int] | None = None) -> None:
    Image.new("L", size or Image.open("cat.png").size, 255).save(name)


def test_masks_and_limits_reach_the_painter(cvtool, painter) -> None:
    mask("m.png")
    done = cvtool("stylize", "cat.png", "wave.png", "--mask", "m.png=all", "--tile", "256", "--max-memory", "2GB")
    assert (done.code, done.err) == (0, done.err)
    (call,) = painter.calls
    (region,) = call["regions"]
    assert region.content.shape == call["content"].shape[:2]
    assert (region.content.min(), region.style, region.style_part) == (1, None, None)
    assert (call["options"].tile, call["options"].max_memory) == (256, 2 * 10**9)


@pytest.mark.parametrize(("word", "tile"), [("auto", None), ("off", 0)])
def test_tiles_by_word(cvtool, painter, word: str, tile: int | None) -> None:
    assert cvtool("stylize", "cat.png", "wave.png", "--tile", word).code == 0
    assert painter.calls[0]["options"].tile == tile


def test_with_several_styles_each_mask_has_its_own(cvtool, painter) -> None:
    mask("m.png")
    words = ["cat.png", "wave.png", "cat.png", "--mask", "m.png=all", "--mask", "m.png=cat.png"]
    assert cvtool("stylize", *words).code == 0
    (call,) = painter.calls
    assert [region.style for region in call["regions"]] == [0, 1]
    assert call["regions"][1].style_part is not None


def test_a_mask_from_what_is_transparent(cvtool, painter) -> None:
    pixels = np.full((8, 9, 4), 255, np.uint8)
    pixels[:, :4, 3] = 0
    Image.fromarray(pixels).save("cut.png")
    assert cvtool("stylize", "cut.png", "wave.png", "--content-mask-from-alpha").code == 0
    (region,) = painter.calls[0]["regions"]
    assert region.content[:, :4].max() == 0
    assert region.content[:, 4:].min() == 1


def test_the_line_that_makes_it_again_names_the_masks(cvtool, painter) -> None:
    mask("a=b.png")
    assert cvtool("stylize", "cat.png", "wave.png", "--mask", "a=b.png=all", "-o", "x.png").code == 0
    again = json.loads(cvtool("info", "x.png", "--json").out)["provenance"]
    assert f"{Path('a=b.png').resolve()}=all" in again["command_line"]
    assert [Path(entry["path"]).name for entry in again["inputs"]] == ["cat.png", "wave.png", "a=b.png"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--mask", "m.png"], 2, "has no pair"),
        (["--mask", "=all"], 2, "has no pair"),
        (["--mask", "m.png=all", "--content-mask-from-alpha"], 2, "Leave one out"),
        (["--mask", "small.png=all"], 3, "Make them the same size"),
        (["--mask", "m.png=small.png"], 3, "Make them the same size"),
        (["--mask", "gone.png=all"], 3, "gone.png"),
        (["cat.png", "cat.png", "--mask", "m.png=all"], 2, "Give one per style"),
        (["--content-mask-from-alpha"], 3, "no transparency"),
        (["--tile", "0"], 2, "--tile '0'"),
        (["--tile", "big"], 2, "--tile 'big'"),
        (["--max-memory", "4XB"], 2, "4XB"),
        (["--save-style", "x.png"], 2, "must end in .safetensors"),
        (["--save-style", "cat.png"], 2, "must end in .safetensors"),
        (["broken.safetensors"], 3, "not a style file"),
        (["--style-weight", "nan"], 2, "finite"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_told_in_one_line(cvtool, painter, words: list[str], code: int, message: str) -> None:
    mask("m.png")
    mask("small.png", (3, 2))
    Path("broken.safetensors").write_bytes(b"no")
    done = cvtool("stylize", "cat.png", "wave.png", *words)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert message in done.err
    assert painter.calls == []


def test_a_style_is_saved_alone_and_shown(cvtool, here: Path, monkeypatch) -> None:
    monkeypatch.setattr("cvtool.stylize.styles.SIZES", (64,))
    save("other.png", (9, 9, 200))
    words = ["--style", "wave.png", "--style", "other.png", "--style-weight", "3", "--style-weight", "1"]
    done = cvtool("stylize", *words, "--save-style", "mix.safetensors")
    assert (done.code, sorted(p.name for p in here.iterdir() if p.suffix == ".safetensors")) == (0, ["mix.safetensors"])
    shown = json.loads(cvtool("info", "mix.safetensors", "--json").out)["provenance"]
    assert [Path(entry["path"]).name for entry in shown["inputs"]] == ["wave.png", "other.png"]
    assert "--save-style" in shown["command_line"]


def test_no_content_is_needed_only_to_save_a_style(cvtool) -> None:
    done = cvtool("stylize", "--style", "wave.png")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "A content is missing" in done.err
