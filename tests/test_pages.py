"""What pages share: colours that can be read, values that cannot run, pictures inside."""

from __future__ import annotations

import re

import numpy as np
import pytest
from html_pages import contrast, picture_in

from cvtool.pages import encoded, preview, rows, source, template, worded


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast(scheme: int) -> None:
    rules = re.findall(r":root \{(.*?)\}", source("cvtool", "base.css"), re.S)[scheme]
    colors = dict(re.findall(r"--(\w+): (#[0-9a-f]+)", rules))
    for back in ("back", "box"):
        for front in ("ink", "faint", "c1", "event"):  # c1 is that of links
            assert contrast(colors[front], colors[back]) >= 4.5, (front, back)


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000", "#fff") == pytest.approx(21)
    assert contrast("#777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # the grey that just fails


def test_every_color_of_a_page_is_in_the_palette() -> None:
    shared = [("cvtool", name) for name in ("results.html.j2", "run.html.j2", "chart.svg.j2")]
    templates = [*shared, ("cvtool.gan", "generator.html.j2"), ("cvtool.caption", "captions.html.j2")]
    for package, name in templates:
        assert not re.search(r"[:\s]#[0-9a-f]{3,8}\b|rgb\(|hsl\(", source(package, name)), name


def test_templates_of_a_package_find_the_shared_ones() -> None:
    assert template("cvtool.gan", "base.html.j2").name == "base.html.j2"


def test_a_preview_is_at_most_as_long_as_asked() -> None:
    pixels = np.zeros((300, 600, 3), np.float32)
    pixels[:, 300:] = (1, 0.5, 0)
    shrunk, kept = picture_in(preview(pixels, 100)), picture_in(preview(pixels, 1000))
    assert (shrunk.format, shrunk.size, kept.size) == ("WEBP", (100, 50), (600, 300))
    assert np.asarray(shrunk)[25, 80].tolist() == pytest.approx([255, 128, 0], abs=6)
    assert np.asarray(shrunk)[25, 20].tolist() == pytest.approx([0, 0, 0], abs=6)


def test_a_preview_is_transparent_where_the_picture_is() -> None:
    alpha = np.zeros((40, 80), np.float32)
    alpha[:, 40:] = 1
    found = picture_in(preview(np.full((40, 80, 3), 0.5, np.float32), 20, alpha=alpha))
    assert found.mode == "RGBA"
    assert [found.getpixel((x, 5))[3] for x in (2, 17)] == [0, 255]


def test_a_preview_is_much_smaller_than_the_picture() -> None:
    noise = np.random.default_rng(0).random((512, 512, 3), dtype=np.float32)
    assert len(preview(noise, 512)) < noise.size / 2


def test_names_that_no_encoding_knows() -> None:
    assert encoded("a\udcffb ü") == b"a\\udcffb \xc3\xbc"


def test_rows_and_words() -> None:
    settings = {"a": 1, "b": {"c": [0.1, None], "d": {"e": True}}, "f": 1e-5, "g": 1234567.0, "h": "x"}
    assert [(name, worded(value)) for name, value in rows(settings)] == [
        ("a", "1"), ("b.c", "0.1, –"), ("b.d.e", "yes"), ("f", "1e-05"), ("g", "1.23457e+06"), ("h", "x"),
    ]  # fmt: skip
