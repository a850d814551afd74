"""Sheets of drafts: what is drafted, what is on the sheet, and that the printed commands mean what they say."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from helpers import save

from cvtool.cli.console import Console
from cvtool.cli.inputs import expand, paths_of, read_input
from cvtool.cli.options import Format
from cvtool.cli.stylize_sheet import (
    DraftStyle,
    SheetPainter,
    parse_strengths,
    plan_finals,
    plan_sheets,
)
from cvtool.errors import CvtoolError, Interrupted, UsageError
from cvtool.images import flatten, read_picture
from cvtool.provenance import read_provenance
from cvtool.stylize.drafts import draft_of, shrunk
from cvtool.stylize.options import DraftOptions, StylizeOptions
from cvtool.stylize.pyramid import plan_scales
from cvtool.stylize.recipes import RECIPES

DRAFTS = DraftOptions(size=64)


@dataclass
class Service:
    """Stands in for the painting: every picture becomes grey, as light as the strength says."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    at: dict[int, Callable[[], None]] = field(default_factory=dict)

    def stylize(self, content: Any, styles: Any, model: Any, options: StylizeOptions, **more: Any) -> SimpleNamespace:
        self.calls.append({"content": content, "styles": styles, "options": options, **more})
        self.at.get(len(self.calls), lambda: None)()
        return SimpleNamespace(
            pixels=np.full_like(content, options.strength / 100),
            steps=5,
            content_loss=0.25,
            style_loss=0.5,
            tv_loss=float("nan"),
            stopped_by="interrupt" if more["stop"]() else "steps",
        )


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    fake, module = Service(), ModuleType("cvtool.stylize.service")
    module.stylize = fake.stylize  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cvtool.stylize.service", module)
    return fake


@dataclass
class Ran:
    out: list[str]
    error: CvtoolError | None
    parsed: dict[str, Any]


@pytest.fixture
def draft(here: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """A command line with the options that matter to a sheet, under the names that they have in ``cvtool stylize``."""

    def run(*words: object, alone: bool = False) -> Ran:
        seen: dict[str, Any] = {}
        app = typer.Typer()

        @app.command("stylize")
        def stylize(
            context: typer.Context,
            content: str,
            more: list[str] = typer.Argument(None),  # noqa: B008
            style: list[str] = typer.Option(None, "--style"),  # noqa: B008
            strength: float = typer.Option(50.0, "--strength"),
            size: int = typer.Option(512, "--size"),
            steps: str = typer.Option(None, "--steps"),
            budget: str = typer.Option(None, "--budget"),
            sheet: str = typer.Option(None, "--sheet"),
            strengths: str = typer.Option(None, "--strengths"),
            sheet_size: int = typer.Option(DRAFTS.size, "--sheet-size"),
            output: str = typer.Option(None, "-o", "--output"),
            format: Format = typer.Option(None, "--format"),  # noqa: B008
            json: bool = typer.Option(False, "--json"),
        ) -> None:
            seen.update(context.params)
            if sheet is None:
                return
            arguments = [content, *(more or [])]
            contents = expand(arguments if style else arguments[:1])
            styles = expand(style or arguments[1:])
            wanted = parse_strengths(strengths) if strengths else DRAFTS.strengths
            inputs = paths_of([*contents, *styles])
            numbers = tuple(int(n) for n in steps.split(",")) if steps else ()
            places = plan_sheets(
                contents, sheet, styles=len(styles), columns=len(wanted), size=sheet_size, inputs=inputs
            )
            finals = plan_finals(contents, styles, wanted, output=output, format=format, inputs=inputs)
            painter = SheetPainter(
                context=context,
                console=Console(json=json, quiet=True),
                options=StylizeOptions(size=size, steps=numbers, budget=9.0 if budget else None),
                styles=[DraftStyle(s, flatten(read_input(s)[0]), read_input(s)[1]) for s in styles],
                start=None,
                strengths=wanted,
                size=sheet_size,
                load=lambda: SimpleNamespace(device="cpu"),  # type: ignore[arg-type, return-value]
                model_name="net",
                weights=None,
            )
            for number, given in enumerate(contents):
                count = painter.drafts
                painter.paint(given, places[number], finals[number * count : (number + 1) * count])

        @app.callback()
        def group() -> None: ...

        capfd.readouterr()
        error = None
        try:
            app(["stylize", *map(str, words)], prog_name="cvtool", standalone_mode=False)
        except CvtoolError as raised:
            error = raised
        return Ran(capfd.readouterr().out.splitlines(), error, seen)

    return run


@pytest.fixture(autouse=True)
def pictures(here: Path) -> None:
    save("cat.png", (200, 60, 30), (96, 48))
    save("styles/wave.png", (20, 40, 180))
    save("styles/star.png", (1, 2, 3))


def cell(sheet: np.ndarray, row: int, column: int, size: int = 64) -> float:
    """The value in the middle of a cell; labels are above and on the left."""
    bottom, right = sheet.shape[0] - 8, sheet.shape[1] - 8
    rows, columns = 2, 3
    y = bottom - (rows - row) * (size + 8) + 8 + size // 2
    x = right - (columns - column) * (size + 8) + 8 + size // 2
    return float(sheet[y, x].mean())


def test_rows_are_styles_and_columns_strengths(draft, service: Service) -> None:
    done = draft("cat.png", "styles", "--strengths", "30,60,90", "--sheet", "s.png")
    assert done.error is None
    asked = [(call["options"].strength, round(255 * float(call["styles"][0].mean()))) for call in service.calls]
    assert asked == [(30, 2), (60, 2), (90, 2), (30, 80), (60, 80), (90, 80)]  # sorted by name: star, wave
    assert all(call["content"].shape == (32, 64, 3) and len(call["styles"]) == 1 for call in service.calls)
    sheet = read_picture("s.png").pixels
    found = [[cell(sheet, row, column) for column in range(3)] for row in range(2)]
    np.testing.assert_allclose(found, [[0.3, 0.6, 0.9]] * 2, atol=0.004)


def test_each_line_finishes_a_draft(draft, service: Service, here: Path) -> None:
    words = ["cat.png", "styles/wave.png", "styles/star.png", "--size", 900, "--steps", "70,50,40,30,20,10"]
    done = draft(*words, "--budget", "9s", "--strengths", "30,60.5", "--sheet", "s.png", "-o", "my prints")
    assert len(done.out) == 4
    final = shlex.split(done.out[3])
    assert final[:2] == ["cvtool", "stylize"]
    again = draft(*final[2:]).parsed
    assert again["content"] == str(here / "cat.png")
    assert list(again["more"]) == [str(here / "styles/star.png")]
    assert (again["strength"], again["size"], again["steps"], again["budget"]) == (60.5, 900, "70,50,40,30,20,10", "9s")
    assert again["output"] == str(here / "my prints/cat-star-60.5.png")
    assert (again["sheet"], again["strengths"]) == (None, None)
    outputs = [shlex.split(line)[-1] for line in done.out]
    assert len(set(outputs)) == 4
    assert not (here / "my prints").exists(), "nothing is made before it is asked for"


def test_styles_of_the_same_name_do_not_share_a_result(draft, service: Service) -> None:
    save("other/wave.png")
    done = draft("cat.png", "styles/wave.png", "other/wave.png", "--strengths", "50", "--sheet", "s.png")
    assert [Path(shlex.split(line)[-1]).name for line in done.out] == ["cat-wave-50.png", "cat-wave-50-2.png"]


def test_one_object_per_draft(draft, service: Service) -> None:
    done = draft("cat.png", "styles/wave.png", "--strengths", "30,90", "--sheet", "s.png", "--json")
    first, second = map(json.loads, done.out)
    assert (first["strength"], first["row"], first["column"]) == (30, 0, 0)
    assert (second["strength"], second["row"], second["column"]) == (90, 0, 1)
    common = {"command", "input", "output", "model", "device", "seed", "seconds", "version"}
    assert common <= first.keys()
    assert (first["output"], first["styles"], first["width"], first["tv_loss"]) == (
        "s.png",
        ["styles/wave.png"],
        64,
        None,
    )
    assert "--strength 30" in first["finish"]


def test_the_sheet_says_how_to_make_it_again(draft, service: Service) -> None:
    words = ["cat.png", "styles/wave.png", "--size", 300, "--strengths", "20,70", "--sheet-size", 40]
    draft(*words, "--sheet", "deep/s.png", "-o", "prints")
    found = read_provenance("deep/s.png")
    assert [Path(each["path"]).name for each in found.inputs] == ["cat.png", "wave.png"]
    before = len(service.calls)
    again = draft(*shlex.split(found.command_line)[2:])
    assert again.error is None
    assert len(service.calls) - before == 2
    assert Path("s.png").read_bytes() == Path("deep/s.png").read_bytes()


def test_contents_by_option_get_a_sheet_each(draft, service: Service) -> None:
    save("dog.png", (9, 9, 9))
    words = ["cat.png", "dog.png", "--style", "styles/wave.png", "--strengths", "30,60"]
    done = draft(*words, "--sheet", "sheets")
    assert sorted(path.name for path in Path("sheets").iterdir()) == ["cat-sheet.png", "dog-sheet.png"]
    assert [Path(shlex.split(line)[-1]).name for line in done.out] == [
        f"{content}-wave-{strength}.png" for content in ("cat", "dog") for strength in (30, 60)
    ]
    last = draft(*shlex.split(done.out[-1])[2:]).parsed
    assert (Path(last["content"]).name, [Path(s).name for s in last["style"]]) == ("dog.png", ["wave.png"])
    assert isinstance(draft(*words, "--sheet", "s.png").error, UsageError)


@pytest.mark.parametrize("press_at", [1, 3])
def test_ctrl_c_keeps_the_drafts_so_far(draft, service: Service, press_at: int) -> None:
    service.at[press_at] = lambda: os.kill(os.getpid(), signal.SIGINT)
    done = draft("cat.png", "styles", "--strengths", "30,60,90", "--sheet", "s.png")
    assert isinstance(done.error, Interrupted)
    assert len(service.calls) == press_at
    assert len(done.out) == press_at - 1
    if press_at == 1:
        assert "no sheet" in str(done.error)
        assert not Path("s.png").exists()
        return
    assert "2 of 6" in str(done.error)
    sheet = read_picture("s.png").pixels
    assert [round(cell(sheet, 0, column), 2) for column in range(3)] == [0.3, 0.6, 1.0], "what is half done is left out"


def test_transparent_contents_are_shown_on_white(draft, service: Service) -> None:
    save("ghost.png", (10, 20, 30, 0), (64, 64))
    draft("ghost.png", "styles", "--strengths", "30,60,90", "--sheet", "s.png")
    assert cell(read_picture("s.png").pixels, 1, 1) == 1.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sheet", "-"], "not '-'"),
        (["--sheet", "cat.png"], "is an input.*another --sheet"),
        (["--sheet", "s.gif"], "'.gif'"),
        (["--sheet", "s.png", "-o", "x.png"], "is one file"),
        (["--sheet", "s.png", "-o", "-"], "cannot be '-'"),
        (["--sheet", "s.png", "--strengths", "30,101"], "from 0 to 100"),
        (["--sheet", "s.png", "--strengths", "nan"], "from 0 to 100"),
        (["--sheet", "s.png", "--strengths", "30,,60"], "from 0 to 100"),
        (["--sheet", "s.png", "--strengths", " "], "is empty"),
        (["--sheet", "s.webp", "--sheet-size", "9000"], "webp holds 16383"),
        (["--sheet", "s.png", "--steps", "1,2"], "2 numbers, but there are"),
        (["--sheet", "s.png", "--size", "99999"], "too large"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_ends_before_any_work(draft, service: Service, words: list[str], message: str) -> None:
    done = draft("cat.png", "styles", *words)
    assert isinstance(done.error, UsageError)
    assert re.search(message, str(done.error))
    assert service.calls == done.out == []


def test_strengths_once_each_in_their_order() -> None:
    assert parse_strengths("90, 30,90,0") == (90.0, 30.0, 0.0)


# drafts


def test_a_draft_is_the_first_scales_of_its_final() -> None:
    """Named steps: the draft gets the numbers of its own scales, however many the final has."""
    options = StylizeOptions(size=1024, steps=(60, 50, 40, 30, 20, 10, 5), budget=9.0, style_weights=(0.5, 0.5))
    drafted = draft_of(options, 60, 256, (768, 1024))
    assert (drafted.strength, drafted.size, drafted.steps) == (60, 256, (60, 50, 40))
    assert (drafted.budget, drafted.style_weights) == (None, ())
    recipe = RECIPES[options.recipe]
    whole = plan_scales(768, 1024, smallest=recipe.smallest, steps=recipe.steps, wanted=(700,))
    assert draft_of(replace(options, steps=(700,)), 60, 256, (768, 1024)).steps == tuple(s.steps for s in whole[:3])
    assert draft_of(StylizeOptions(), 60, 256, (768, 1024)).steps == ()


@pytest.mark.parametrize(
    ("size", "content", "expected"), [(512, (100, 200), 256), (0, (100, 200), 200), (99, (9, 9), 99)]
)
def test_a_draft_is_never_larger_than_its_final(size: int, content: tuple[int, int], expected: int) -> None:
    assert draft_of(StylizeOptions(size=size), 50, 256, content).size == expected


def test_shrunk_keeps_what_is_small() -> None:
    small = np.zeros((10, 20, 3), np.float32)
    assert shrunk(small, 20) is small
    assert shrunk(small, 10).shape == (5, 10, 3)


def test_real_drafts_are_the_pictures_that_their_options_make(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the real network: bit for bit what `stylize` makes of the draft's options, and each style is seen once."""
    from cvtool.models.loader import load
    from cvtool.stylize.extractor import Extractor
    from cvtool.stylize.service import stylize

    noise = np.random.default_rng(0).random((48, 64, 3))
    from PIL import Image

    Image.fromarray((noise * 255).astype(np.uint8)).save("cat.png")
    model, looks = load("efficientnet-lite0", device="cpu"), io.StringIO()
    real = Extractor.__call__

    def spy(self, picture, *rest, **more):
        if more.get("maps") is False and not picture.requires_grad:
            looks.write("x")
        return real(self, picture, *rest, **more)

    monkeypatch.setattr(Extractor, "__call__", spy)
    content, style = expand(["cat.png"])[0], expand(["styles/wave.png"])[0]
    pixels = flatten(read_input(style)[0])
    options = StylizeOptions(size=64, steps=(2,))
    painter = SheetPainter(
        context=SimpleNamespace(params={}, command_path="cvtool stylize", command=SimpleNamespace(params=[])),  # type: ignore[arg-type]
        console=Console(quiet=True),
        options=options,
        styles=[DraftStyle(style, pixels, "0")],
        start=None,
        strengths=(20.0, 80.0),
        size=64,
        load=lambda: model,
        model_name="efficientnet-lite0",
        weights=None,
    )
    places = plan_sheets([content], "s.png", styles=1, columns=2, size=64, inputs=[])
    painter.paint(content, places[0], plan_finals([content], [style], (20, 80), output=None, format=None, inputs=[]))
    assert looks.getvalue() == "x"
    sheet = read_picture("s.png").pixels
    for column, strength in enumerate((20.0, 80.0)):
        alone = stylize(read_picture("cat.png").pixels, [pixels], model, replace(options, strength=strength)).pixels
        left = sheet.shape[1] - (2 - column) * 72
        top = sheet.shape[0] - 8 - 64 + 8
        np.testing.assert_allclose(sheet[top : top + 48, left : left + 64], alone, atol=0.5 / 255 + 1e-6)
