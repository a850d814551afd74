"""The page of a run: all that was measured is on it, it stands alone, and everybody can use it."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from cvtool.gan.report import page
from cvtool.run_pages import FRAMES

HOSTILE = "</script><script>alert(\"1\")</script> & 'x' {{ 7 * 7 }}"
VOID = {"meta", "img", "input", "br"}


class Page(HTMLParser):
    """Texts, elements with their attributes; keeps count of what is open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style" and data.strip():
            self.texts.append(" ".join(data.split()))

    def of(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and all(attributes.get(key.rstrip("_")) == value for key, value in wanted.items())
        ]


def png(color: int = 90, size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size), color, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def webp() -> bytes:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 120, 240)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=50)
    return buffer.getvalue()


def check(step: int, fd: float = 30.0, **more: object) -> dict[str, object]:
    evaluation = {"fd": fd, "fd_low": 0.9 * fd, "fd_high": 1.1 * fd, "kd": fd / 1e4, "precision": 0.75, "recall": 0.5,
                  "coverage": 0.625, "feature_model": "f@64", "samples": 2000}  # fmt: skip
    return {"step": step, "loss_g": 0.9, "loss_d": 1.2, "accuracy_d": 0.6, **evaluation, "seconds": 1.5, **more}


CHECKS = [check(100, 50.0), check(200, 20.0), check(300, 25.0)]


def whole(**changes: object) -> str:
    arguments = {
        "config": {"data": "fashion-mnist", "network": {"arch": "dcgan", "spectral": None}, "sizes": [28, 1]},
        "checks": CHECKS,
        "grids": [(100, png(10)), (200, png(20)), (300, png(30))],
        "walk": webp(),
        "neighbours": png(40),
        "command": "cvtool gan train --data fashion-mnist -o run",
        "title": "Run 7",
    } | changes
    return page(arguments.pop("config"), arguments.pop("checks"), arguments.pop("grids"), **arguments)  # type: ignore[arg-type]


class TestContents:
    def test_best_check_settings_and_command(self):
        found = Page(whole())
        assert "The best generator is that of step 200." in found.texts
        begin, end = found.texts.index("Pictures over time"), found.texts.index("Settings")
        tiles = dict(zip(found.texts[:begin], found.texts[1:begin], strict=False))
        rows = dict(zip(found.texts[end:], found.texts[end + 1 :], strict=False))
        assert (tiles["Fréchet distance"], tiles["Precision"], tiles["Coverage"]) == ("20", "0.75", "0.625")
        assert "18 to 22" in found.texts
        assert (rows["data"], rows["network.arch"], rows["network.spectral"]) == ("fashion-mnist", "dcgan", "–")
        assert rows["sizes"] == "28, 1"
        assert "cvtool gan train --data fashion-mnist -o run" in found.texts

    def test_all_numbers_are_in_the_table(self):
        text = whole(checks=[check(100, 50.0), check(200, 20.0, loss_g=math.nan, penalty=1234.5)])
        heads = re.findall(r'<th scope="col">(.*?)</th>', text)
        body = re.findall(r"<td>(.*?)</td>", text[text.index("<tbody>") : text.index("</tbody>")])
        table = [dict(zip(heads, body[i : i + len(heads)], strict=True)) for i in (0, len(heads))]
        assert [row["Step"] for row in table] == ["100", "200"]
        assert [row["Generator"] for row in table] == ["0.9", "–"]
        assert [row["Penalty"] for row in table] == ["–", "1,234"]  # 1,234.5 to the even neighbour

    def test_pictures_are_inside_in_order(self):
        found = Page(whole())
        assert [picture_in(image["src"]).getpixel((0, 0)) for image in found.of("img") if "png" in str(image["src"])] \
            == [10, 20, 30, 40]  # fmt: skip
        (walk,) = [image for image in found.of("img") if str(image["src"]).startswith("data:image/webp")]
        assert picture_in(walk["src"]).n_frames == 3
        assert "Step 200, Fréchet distance 20" in found.texts

    def test_what_went_wrong_is_said_and_marked(self):
        troubled = [*CHECKS, check(400, 99.0, trouble="coverage fell <so>")]
        found = Page(whole(checks=troubled))
        assert "Step 400: coverage fell <so>." in found.texts
        assert len(found.of("path", class_="event")) == len(found.of("figure", class_="chart"))
        assert not Page(whole()).of("path", class_="event")

    def test_charts_of_a_game_and_of_an_autoencoder(self):
        game = [str(svg["aria-label"]) for svg in Page(whole()).of("svg", role="img")]
        assert [label.split(" by step")[0] for label in game] == [
            "Fréchet distance", "Kernel distance", "Fidelity and variety", "Losses", "Discriminator's accuracy",
        ]  # fmt: skip
        assert game[2].endswith("Last: Precision 0.75, Recall 0.5, Coverage 0.625.")
        autoencoder = [{"step": i, "loss": 3.0, "reconstruction": 2.0, "divergence": 1.0} for i in (1, 2)]
        (label,) = [str(svg["aria-label"]) for svg in Page(whole(checks=autoencoder)).of("svg", role="img")]
        assert "Sum 3, Reconstruction 2, Divergence 1" in label

    def test_many_grids_are_thinned_evenly(self):
        found = Page(whole(grids=[(i, png(i % 256)) for i in range(1000)], checks=[]))
        steps = [int(text.removeprefix("Step ")) for text in found.texts if re.fullmatch(r"Step \d+", text)]
        assert len(steps) == FRAMES
        assert (steps[0], steps[-1]) == (0, 999)
        assert set(np.diff(steps)) <= {25, 26}

    def test_the_same_twice(self):
        assert whole() == whole()


def picture_in(source: str | None) -> Image.Image:
    assert source is not None
    head, _, data = source.partition(",")
    assert re.fullmatch(r"data:image/(png|webp);base64", head)
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


class TestStandsAlone:
    def test_nothing_is_fetched(self):
        text = whole(title=HOSTILE, command=HOSTILE, config={HOSTILE: {HOSTILE: HOSTILE}})
        found = Page(text)
        assert not found.of("link") + found.of("a") + found.of("iframe") + found.of("object")
        assert not re.search(r"https?:|//[a-z]+\.|url\(|@import|srcset|xlink", text.replace("// ", ""))
        assert all(str(image["src"]).startswith("data:image/") for image in found.of("img"))

    def test_only_our_script_runs(self):
        text = whole(title=HOSTILE, command=HOSTILE, config={HOSTILE: HOSTILE}, checks=[check(1, trouble=HOSTILE)])
        found = Page(text)
        assert len(found.of("script")) == 1
        (script,) = found.scripts
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        (policy,) = [str(meta["content"]) for meta in found.of("meta") if meta.get("http-equiv")]
        assert f"script-src 'sha256-{digest}'" in policy
        assert "default-src 'none'" in policy
        assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
        assert found.texts.count(HOSTILE) >= 3
        assert "49" not in " ".join(found.texts)


class TestForEverybody:
    def test_language_title_and_headings(self):
        text = whole()
        assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
        found = Page(text)
        assert len(found.of("h1")) == len(found.of("main")) == 1
        assert text.index("<title>Run 7</title>") < text.index("</head>")
        assert found.of("meta", name="viewport")

    def test_ids_are_unique_and_labels_lead_to_inputs(self):
        found = Page(whole())
        ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        labelled = {label["for"] for label in found.of("label")}
        assert found.of("input")
        assert {each["id"] for each in found.of("input")} <= labelled
        assert {each["for"] for each in found.of("output")} <= set(ids)
        for name in re.findall(r'getElementById\("(.*?)"\)', "".join(found.scripts)):
            assert name in ids

    def test_every_picture_says_what_it_shows(self):
        found = Page(whole())
        assert all(image.get("alt") for image in found.of("img"))
        assert all(svg.get("role") == "img" or svg.get("aria-hidden") for svg in found.of("svg"))

    def test_grids_can_be_seen_without_the_script(self):
        found = Page(whole())
        assert "hidden" in found.of("div", id="control")[0]  # the slider only
        assert not any("hidden" in figure for figure in found.of("figure"))

    @pytest.mark.parametrize("scheme", [0, 1])
    def test_contrast(self, scheme: int):
        # WCAG 2.2: 4.5 for text, 3 for lines, on the page and in boxes; both schemes.
        rules = re.findall(r":root \{(.*?)\}", whole(), re.S)[scheme]
        colors = dict(re.findall(r"--(\w+): (#[0-9a-f]+)", rules))
        for back in ("back", "box"):
            for front, least in {"ink": 4.5, "faint": 4.5, "c1": 3, "c2": 3, "c3": 3, "event": 3}.items():
                assert contrast(colors[front], colors[back]) >= least, (front, back)


def contrast(one: str, other: str) -> float:
    """By WCAG's definition of relative luminance."""

    def luminance(color: str) -> float:
        digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
        levels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in levels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


class TestOddRuns:
    def test_nothing_at_all(self):
        found = Page(page({}, []))
        assert "Nothing has been measured yet." in found.texts
        assert not found.of("img") + found.of("svg") + found.of("table") + found.of("input")

    def test_one_check_and_one_grid(self):
        found = Page(whole(checks=[check(500)], grids=[(500, png())], walk=None, neighbours=None))
        assert len(found.of("img")) == 1
        assert len(found.of("circle")) == sum(len(svg["aria-label"].split(", ")) for svg in found.of("svg", role="img"))

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None, 1e300, -1e38])
    def test_numbers_that_are_none(self, bad: float | None):
        names = ("loss_g", "fd", "fd_high", "kd", "precision", "accuracy_d", "nearest")
        checks = [check(100), {**check(200), **dict.fromkeys(names, bad)}, check(300)]
        text = whole(checks=checks)
        Page(text)
        assert not re.search(r"[\s\",](nan|inf|-inf)[\s\",]", "".join(re.findall(r"<svg.*?</svg>", text, re.S)))

    def test_only_numbers_that_are_none(self):
        found = Page(whole(checks=[{"step": 1, "fd": math.nan, "loss_g": math.nan, "trouble": "no numbers"}]))
        assert not found.of("svg", role="img")
        assert "Nothing has been measured yet." in found.texts
