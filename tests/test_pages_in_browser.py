"""Pages in a real browser: nothing is complained of or fetched, pictures show, sliders slide, texts can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Tab, find, opened
from helpers import save

from cvtool.caption.metrics import score
from cvtool.caption.report import Described
from cvtool.caption.report import page as captions_page
from cvtool.caption.run_report import page as captioner_page
from cvtool.cli.console import Console
from cvtool.cli.reporting import Report, Shown
from cvtool.gan.report import page as run_page
from cvtool.pages import preview
from cvtool.stylize.instant.report import page as painter_page

PROGRAM = find()
KINDS = ["report", "run", "captions", "captioner", "painter"]
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Chromium")

UNREADABLE = """
[...document.querySelectorAll("body *")].flatMap(element => {
  const texts = [...element.childNodes].filter(node => node.nodeType === 3 && node.data.trim());
  if (!texts.length || !element.checkVisibility() || ["SCRIPT", "STYLE"].includes(element.tagName)) return [];
  const numbers = color => color.match(/[\\d.]+/g).map(Number);
  const luminance = color => numbers(color).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  let back = element;
  const clear = color => numbers(color)[3] === 0;
  while (back.parentElement && clear(getComputedStyle(back).backgroundColor)) back = back.parentElement;
  const style = getComputedStyle(element), svg = element instanceof SVGElement;
  const [low, high] = [luminance(svg ? style.fill : style.color),
    luminance(clear(getComputedStyle(back).backgroundColor) ? getComputedStyle(document.body).backgroundColor
      : getComputedStyle(back).backgroundColor)].sort((a, b) => a - b);
  const contrast = (high + 0.05) / (low + 0.05);
  return contrast < 4.5 ? [element.tagName + " " + texts[0].data.trim() + " " + contrast.toFixed(2)] : [];
})
"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    assert PROGRAM is not None
    with opened(PROGRAM, tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    photo = np.random.default_rng(0).random((60, 90, 3), dtype=np.float32)
    files = {name: folder / f"{name}.html" for name in KINDS}

    report = Report(files["report"], "cvtool fool", 2)
    report.failed.append(("broken" * 30 + ".png", "It is not a picture."))
    with report.written(Console(quiet=True)):
        report.share(Shown("Style", "A style", photo))
        for name in ("a.png", "averyveryverylongname" * 5 + ".png"):
            report.show(
                Shown("Difference", "What was changed", photo),
                pair=[Shown("Original", "Before", photo), Shown("Adversarial", "After", 1 - photo)],
                command="cvtool fool " + "--option value " * 20,
                lead="cat 90 % is seen as dog 80 %",
            )
            likeliest = [{"index": 1, "name": "great white shark, man-eater", "probability": 0.8}]
            report.hear({"command": "fool", "input": name, "output": None, "success": False, "seed": 0,
                         "original": {"predictions": likeliest}})  # fmt: skip
    metrics = score({"a": ["a", "dog"]}, {"a": [["a", "dog"]]})
    captions = captions_page("Captions", metrics, {"data": "d" * 50}, [], [Described("a", "a dog", ("a",), 1.0, photo)])
    files["captions"].write_text(captions, "utf-8")
    png = save(folder / "grid.png").read_bytes()
    checks = [
        {"step": i, "fd": 10.0 - i, "precision": 0.5, "loss_g": 1.0, "loss_d": 0.5, "trouble": "odd"} for i in (1, 2)
    ]
    files["run"].write_text(run_page({"data": "d" * 90}, checks, [(1, png), (2, png)], command="cvtool gan"), "utf-8")
    sheets = [(i, preview(photo, 90)) for i in (1, 2)]
    measured = {"cider": 0.5, "bleu4": 0.2, "rouge_l": 0.4, "bleu1": 0.6, "bleu2": 0.4, "bleu3": 0.3}
    epochs = [{"epoch": i, "step": 9 * i, "phase": "words", "loss": 40.0 - i, "perplexity": 20.0, "metrics": measured,
               "is_best": True, "captions": {"a.png": "a dog " * 30}} for i in (1, 2)]  # fmt: skip
    files["captioner"].write_text(captioner_page({"data": "d" * 90}, epochs, sheets, command="cvtool caption"), "utf-8")
    painted = [{"step": i, "loss": 2.0, "held_out_loss": 2.5, "is_best": True} for i in (1, 2)]
    files["painter"].write_text(painter_page({"data": "d" * 90}, painted, sheets, command="cvtool stylize"), "utf-8")
    return files


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_is_complained_of_and_everything_can_be_read(tab: Tab, pages, kind: str, dark: bool) -> None:
    tab.said.clear()
    tab.fetched.clear()
    tab.go(pages[kind], dark=dark)
    sizes = tab.ask(
        "Promise.all([...document.images].map(i => i.decode().then(() => [i.naturalWidth, i.naturalHeight])))"
    )
    assert sizes
    assert all(width > 0 and height > 0 for width, height in sizes)
    assert tab.said == []
    assert tab.fetched == [pages[kind].resolve().as_uri()]
    assert tab.ask(UNREADABLE) == []
    brightness = tab.ask("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert (brightness < 60) == dark


def test_the_check_of_contrast_can_fail(tab: Tab, pages) -> None:
    tab.go(pages["report"])
    tab.ask("document.querySelector('h2').style.color = '#777'")
    assert any("4.48" in found for found in tab.ask(UNREADABLE))


@pytest.mark.parametrize("kind", KINDS)
def test_a_narrow_window_needs_no_scrolling_sideways(tab: Tab, pages, kind: str) -> None:
    tab.go(pages[kind], width=400)
    assert tab.ask("document.documentElement.scrollWidth") <= 400


def test_the_policy_stops_other_scripts(tab: Tab, pages) -> None:
    tab.go(pages["report"])
    tab.ask("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))")
    assert tab.ask("window.ran") is None
    assert any("Content Security Policy" in text for text in tab.said)
    tab.said.clear()


CLIPPED = "getComputedStyle(document.querySelectorAll('.pair figure')[1]).clipPath"
SLIDER = "document.querySelector('.control input')"


def test_arrow_keys_move_the_slider_and_the_border(tab: Tab, pages) -> None:
    tab.go(pages["report"])
    assert tab.ask(f"{SLIDER}.checkVisibility()")
    assert tab.ask(CLIPPED) == "inset(0px 0px 0px 50%)"
    tab.ask(f"{SLIDER}.focus()")
    for _ in range(3):
        tab.press("ArrowRight", 39)
    assert tab.ask(f"{SLIDER}.value") == "53"
    assert tab.ask(CLIPPED) == "inset(0px 0px 0px 53%)"
    assert tab.ask(f"{SLIDER}.getAttribute('aria-valuetext')") == "53 % Original, 47 % Adversarial"
    tab.press("Home", 36)
    assert tab.ask(CLIPPED) == "inset(0px 0px 0px 0%)"
    # The second slider is on its own.
    assert tab.ask("document.querySelectorAll('.control input')[1].value") == "50"


def test_the_picture_can_be_dragged(tab: Tab, pages) -> None:
    tab.go(pages["report"])
    tab.ask("document.querySelector('.pair').scrollIntoView()")
    x, y, width = tab.ask("(r => [r.x, r.y, r.width])(document.querySelector('.pair').getBoundingClientRect())")
    tab.mouse("mousePressed", x + width / 2, y + 20)
    tab.mouse("mouseMoved", x + width / 5, y + 20)
    assert tab.ask(f"{SLIDER}.value") == "20"
    tab.mouse("mouseReleased", x + width / 5, y + 20)
    tab.mouse("mouseMoved", x + width / 2, y + 20)
    assert tab.ask(f"{SLIDER}.value") == "20"


def test_without_scripts_both_pictures_are_seen(tab: Tab, pages) -> None:
    tab.go(pages["report"], script=False)
    boxes = tab.ask("[...document.querySelectorAll('.pair img')].slice(0, 2).map(i => i.getBoundingClientRect().x)")
    assert boxes[0] < boxes[1]
    assert not tab.ask(f"{SLIDER}.checkVisibility()")


@pytest.mark.parametrize("kind", ["run", "captioner", "painter"])
def test_a_slider_chooses_a_picture_of_a_run(tab: Tab, pages, kind: str) -> None:
    shown = "[...document.querySelectorAll('#grids figure')].map(figure => figure.checkVisibility())"
    tab.go(pages[kind])
    assert tab.ask(shown) == [False, True]
    tab.ask("document.getElementById('when').focus()")
    tab.press("Home", 36)
    assert tab.ask(shown) == [True, False]
    assert " 1" in tab.ask("document.getElementById('which').textContent")
    tab.go(pages[kind], script=False)
    assert tab.ask(shown) == [True, True]
