"""``--report``: what is on the page, that it stands alone, and that it is there whenever something is finished."""

from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from helpers import mean_color, save
from html_pages import HOSTILE, Page, check_for_everybody, check_stands_alone
from PIL import Image

from cvtool.bundled import find_asset
from cvtool.cli.reporting import LONGEST, SHORTEST, preview_side


@pytest.fixture
def photo(here: Path) -> Path:
    """The bundled cat, small."""
    with Image.open(find_asset("cat").path) as picture:
        picture.resize((96, 64)).save(here / "tabby.png")
    return here / "tabby.png"


def colors(page: Page) -> list[list[int]]:
    return [mean_color(np.asarray(picture.convert("RGB")) / 255) for picture in page.pictures()]


class TestPageOfStylize:
    """With a painter that darkens the content, so that what must be on the page is known."""

    def test_inputs_results_numbers_and_command(self, cvtool, painter, cat: Path, wave: Path, here: Path) -> None:
        done = cvtool("stylize", "cat.png", "wave.png", "-o", "out/painted.png", "--report", "out/page.html", "--json")
        assert done.code == 0, done.err
        page, told = Page.read(here / "out/page.html"), json.loads(done.out)
        check_stands_alone(page)
        check_for_everybody(page)
        assert colors(page) == [
            pytest.approx(color, abs=3) for color in ([20, 40, 180], [200, 60, 30], [100, 30, 15])
        ]  # style, content, result
        assert [image["alt"] for image in page.of("img")] == [
            "The style wave.png", "The content cat.png", "cat.png, painted",
        ]  # fmt: skip
        shown = page.numbers()
        for key in ("model", "device", "stopped_by"):
            assert shown[key.replace("_", " ")] == told[key]
        for key in ("seed", "width", "height", "steps", "content_loss", "style_loss"):
            assert float(shown[key.replace("_", " ")]) == pytest.approx(told[key], rel=1e-4)
        assert (told["tv_loss"], shown["tv loss"]) == (None, "–")
        assert shown["cvtool"] == told["version"]
        assert {"python", "torch", "pillow", "platform", "machine"} <= shown.keys()
        (line,) = [text for text in page.texts if text.startswith("cvtool stylize --")]
        assert "--steps 3,2 " in line
        assert line.endswith(f"--format png {cat} {wave}")
        assert [link["href"] for link in page.of("a")] == ["../cat.png", "painted.png"]

    def test_the_slider_compares_what_is_named_beside_it(self, cvtool, painter, cat: Path, wave: Path, here) -> None:
        cvtool("stylize", "cat.png", "wave.png", "--report", "page.html")
        page = Page.read(here / "page.html")
        (slider,) = page.of("input")
        wanted = {"type": "range", "min": "0", "max": "100", "step": "1", "value": "50"}
        assert wanted.items() <= slider.items()
        assert slider["aria-label"] == "Border between Content and Result: cat.png"
        (control,) = [div for div in page.of("div") if div.get("class") == "control"]
        assert "hidden" in control  # until the script is there to make it work

    def test_several_with_one_that_fails(self, cvtool, painter, wave: Path, here: Path) -> None:
        for name in ("a", "c", "d", "e"):
            save(here / f"{name}.png")
        (here / "b.png").write_bytes(b"no picture")
        names = [f"{name}.png" for name in "abcde"]
        done = cvtool("stylize", "--style", "wave.png", *names, "-o", "out", "--report", "page.html")
        assert done.code == 3
        page = Page.read(here / "page.html")
        check_stands_alone(page)
        check_for_everybody(page)
        headings = [page.texts.index(f"{name}.png") for name in "acde"]
        assert headings == sorted(headings)
        assert len(page.of("input")) == len(page.of("section")) == 4
        assert len(page.of("img")) == 1 + 2 * 4  # the style is there once
        (failed,) = [text for text in page.texts if text.startswith("b.png: ")]
        assert "not a picture" in failed
        assert page.texts.index("Not done") < page.texts.index(failed)
        (nav,) = page.of("nav")
        assert nav["aria-label"] == "Results"

    def test_ctrl_c_leaves_what_is_finished(self, cvtool, painter, cat: Path, wave: Path, here: Path) -> None:
        save(here / "dog.png")
        painter.during = lambda: os.kill(os.getpid(), signal.SIGINT)
        done = cvtool("stylize", "--style", "wave.png", "cat.png", "dog.png", "-o", "out", "--report", "page.html")
        assert done.code == 130
        page = Page.read(here / "page.html")
        assert any(text.startswith("Stopped before the end: stopped after 5 steps") for text in page.texts)
        assert "cat.png" in page.texts
        assert "dog.png" not in page.texts
        assert "interrupt" in page.texts

    def test_nothing_is_left_where_nothing_was_finished(self, cvtool, painter, wave: Path, here: Path) -> None:
        (here / "b.png").write_bytes(b"no picture")
        assert cvtool("stylize", "b.png", "wave.png", "--report", "page.html").code == 3
        assert sorted(path.name for path in here.iterdir()) == ["b.png", "wave.png"]

    def test_an_unexpected_failure_keeps_the_page_of_the_others(self, cvtool, painter, cat, wave, here: Path) -> None:
        save(here / "dog.png")

        def fail_the_second_time() -> None:
            if len(painter.calls) == 2:
                raise RuntimeError("the disk is on fire")

        painter.during = fail_the_second_time
        done = cvtool("stylize", "--style", "wave.png", "cat.png", "dog.png", "-o", "out", "--report", "page.html")
        assert done.code == 1
        assert any("the disk is on fire" in text for text in Page.read(here / "page.html").texts)

    def test_hostile_names_are_only_text(self, cvtool, painter, wave: Path, here: Path) -> None:
        name = HOSTILE.replace("/", "\u2215") + "\udcff\n.png"
        content = save(here / name)
        done = cvtool("stylize", f"./{name}", "wave.png", "-o", "#?%.png", "--report", "javascript:alert(1).html")
        assert done.code == 0, done.err
        page = Page.read(here / "javascript:alert(1).html")
        check_stands_alone(page)
        check_for_everybody(page)
        assert len(page.of("script")) == 1
        assert any(text.startswith("./<script>alert") and "\\udcff" in text for text in page.texts)
        links = [str(link["href"]) for link in page.of("a")]
        assert [(here / unquote(link, errors="surrogateescape")).exists() for link in links] == [True, True]
        assert content.exists()

    def test_transparent_parts_stay(self, cvtool, painter, wave: Path, here: Path) -> None:
        save(here / "clear.png", (200, 60, 30, 0))
        cvtool("stylize", "clear.png", "wave.png", "--report", "page.html")
        modes = [picture.mode for picture in Page.read(here / "page.html").pictures()]
        assert modes == ["RGB", "RGBA", "RGBA"]

    def test_large_pictures_become_previews(self, cvtool, painter, wave: Path, here: Path) -> None:
        save(here / "large.png", size=(2048, 512))
        cvtool("stylize", "large.png", "wave.png", "--report", "page.html")
        page = Page.read(here / "page.html")
        assert [picture.size for picture in page.pictures()] == [(48, 32), (1024, 256), (1024, 256)]
        assert [(image["width"], image["height"]) for image in page.of("img")][1] == ("1024", "256")
        assert any("at most 1024 pixels" in text for text in page.texts)

    def test_without_the_option_there_is_no_page(self, cvtool, painter, cat: Path, wave: Path, here: Path) -> None:
        cvtool("stylize", "cat.png", "wave.png")
        assert not list(here.glob("*.htm*"))

    def test_it_is_no_part_of_the_command_that_repeats(self, cvtool, painter, cat: Path, wave: Path, here) -> None:
        from cvtool.provenance import read_provenance

        cvtool("stylize", "cat.png", "wave.png", "--report", "page.html")
        assert "--report" not in read_provenance(here / "cat-stylize.png").command_line
        assert "--report" not in (here / "page.html").read_text("utf-8")


class TestRefused:
    @pytest.mark.parametrize(
        ("path", "message"),
        [("page.txt", "must end in .html"), ("page", "must end in .html"), ("cat.html", "is an input"),
         ("folder.html", "is a folder"), ("cat.png/page.html", "is not a folder")],
    )  # fmt: skip
    def test_paths(self, cvtool, painter, wave: Path, here: Path, path: str, message: str) -> None:
        save(here / "cat.png").rename(here / "cat.html")
        save(here / "cat.png")
        (here / "folder.html").mkdir()
        content = "cat.html" if path == "cat.html" else "cat.png"
        done = cvtool("stylize", content, "wave.png", "--report", path)
        assert done.code == 2
        assert message in done.err
        assert painter.calls == []

    @pytest.mark.parametrize("mode", [["--video"], ["--sheet", "s.png"], ["--watch", "."]])
    def test_beside_modes_of_stylize_that_have_no_page(self, cvtool, painter, cat, wave, mode: list[str]) -> None:
        done = cvtool("stylize", *mode, "wave.png", "--report", "page.html")
        assert done.code == 2
        assert "--report does not go with" in done.err

    def test_beside_all_targets(self, cvtool, photo: Path) -> None:
        assert cvtool("fool", "tabby.png", "--all-targets", "--report", "page.html").code == 2


REAL = {
    "saliency": (
        "saliency tabby.png broken.png --method gradient,grad-cam -o out",
        ["Overlay", "Map", "Why ", "Predictions", "Picture"],
        6,
    ),
    "fool": (
        "fool tabby.png broken.png --untargeted --method fgsm --eps 8/255 --transfer-to efficientnet-lite1 -o out",
        ["Original", "Adversarial", "Difference × 10", "Original: predictions", "Adversarial: predictions"],
        3,
    ),
    "visualize-class": (
        "visualize-class peacock tabby --size 32 --steps 1 --views 1 --model efficientnet-lite0 -o out",
        ["Result", "Predictions"],
        2,
    ),
    "caption describe": (
        "caption describe tabby.png broken.png --decode sample -n 2 --attention out",
        ["tabby.png", "Where it looked", "Tokens", "Candidates"],
        2,
    ),
    "gan sample": ("gan sample -n 4 --seed 7 -o out/grid.png", ["4 pictures"], 1),
}


@pytest.mark.parametrize("name", REAL)
def test_every_technique(cvtool, photo: Path, here: Path, name: str) -> None:
    words, texts, pictures = REAL[name]
    (here / "broken.png").write_bytes(b"no picture")
    done = cvtool(*words.split(), "--report", "page.html", "--json")
    assert done.code in (0, 3, 5), done.err
    told = [json.loads(line) for line in done.out.splitlines()]
    results = [record for record in told if "error" not in record]
    page = Page.read(here / "page.html")
    check_stands_alone(page)
    check_for_everybody(page)
    assert page.texts[1] == f"cvtool {name}"
    for text in texts:
        assert any(shown.startswith(text) for shown in page.texts) or text in page.source, text
    assert len(page.of("section")) == len(results)
    assert len(page.of("img")) == pictures
    assert all(min(picture.size) > 0 for picture in page.pictures())
    assert any("broken.png" in text for text in page.texts) == ("broken.png" in words)

    rows = page.rows()
    for record in results:
        assert ["model", record["model"]] in rows
        for key in ("predictions", "candidates", "tokens"):
            for thing in record.get(key, []):
                first = thing.get("name") or thing.get("caption") or thing.get("word")
                assert any(first in row for row in rows), first
        if "probability" in record and record["probability"] is not None:
            assert ["probability", f"{record['probability']:.1%}"] in rows
    if name == "fool":
        before, after, change = (np.asarray(picture.convert("RGB"), float) for picture in page.pictures())
        assert np.abs(change - 127.5).max() > 4 * np.abs(after - before).max()  # ten-fold, less what WebP loses


def test_the_command_on_the_page_makes_the_same_again(cvtool, photo: Path, here: Path) -> None:
    cvtool("saliency", "tabby.png", "--method", "gradient", "-o", "first.png", "--report", "page.html")
    (line,) = [text for text in Page.read(here / "page.html").texts if text.startswith("cvtool saliency --")]
    assert cvtool(*shlex.split(line)[1:], "-o", "second.png").code == 0
    first, second = (np.asarray(Image.open(here / name)) for name in ("first.png", "second.png"))
    assert np.array_equal(first, second)


def test_a_goal_that_was_not_reached_is_said(cvtool, photo: Path, here: Path) -> None:
    done = cvtool(
        "fool", "tabby.png", "--target", "espresso", "--method", "fgsm", "--eps", "0.1/255", "--report", "p.html"
    )
    assert done.code == 5
    assert "The goal was not reached; this is the best try." in Page.read(here / "p.html").texts


def test_previews_shrink_so_that_pages_do_not_grow() -> None:
    sides = [preview_side(count) for count in (1, 16, 64, 1000, 10**6)]
    assert sides == [LONGEST, LONGEST, LONGEST // 2, SHORTEST, SHORTEST]
