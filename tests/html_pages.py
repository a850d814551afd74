"""What tests of pages need: a strict reader of HTML, the rules of WCAG for contrast, and what a page may not do."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

from PIL import Image

VOID = {"meta", "img", "input", "br"}
HOSTILE = "<script>alert(\"1\")</script> & 'x' {{ 7 * 7 }}"


class Page(HTMLParser):
    """Texts, elements with their attributes, scripts; fails where elements do not end as they began."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    @classmethod
    def read(cls, path: Path) -> Page:
        return cls(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style" and data.strip():
            self.texts.append(" ".join(data.split()))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def rows(self) -> list[list[str]]:
        """The cells of all rows of all tables, as texts."""
        found = []
        for row in re.findall(r"<tr>(.*?)</tr>", self.source, re.S):
            cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)
            found.append([" ".join(Page(f"<p>{cell}</p>").texts) for cell in cells])
        return found

    def numbers(self) -> dict[str, str]:
        """Names and values of all tables with two columns; of values with the same name the last."""
        return {row[0]: row[1] for row in self.rows() if len(row) == 2}

    def pictures(self) -> list[Image.Image]:
        """All pictures, decoded."""
        return [picture_in(image["src"]) for image in self.of("img")]


def picture_in(source: str | None) -> Image.Image:
    assert source is not None
    kind, _, data = source.partition(",")
    assert re.fullmatch(r"data:image/(webp|png|jpeg);base64", kind)
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    image.load()
    return image


def check_stands_alone(page: Page) -> None:
    """Nothing is fetched, and only our scripts may run."""
    for tag in ("link", "iframe", "object", "embed", "base", "form"):
        assert not page.of(tag)
    without_links = re.sub(r'<a href="[^"]*"', "", page.source)
    assert not re.search(r"https?:|url\(|@import|srcset|xlink", without_links)
    assert not any(str(link["href"]).lower().startswith(("javascript", "data", "http")) for link in page.of("a"))
    assert all(str(image["src"]).startswith("data:image/") for image in page.of("img"))
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    (policy,) = [str(meta["content"]) for meta in page.of("meta") if meta.get("http-equiv")]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in page.scripts]
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert rules["script-src"] == (" ".join(f"'sha256-{digest}'" for digest in digests) or "'none'")


def check_for_everybody(page: Page) -> None:
    """Language, title, the order of headings, texts for pictures, names for controls, unique ids."""
    assert page.source.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert page.of("title")
    assert len(page.of("main")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    assert all(image.get("alt") and image.get("width") and image.get("height") for image in page.of("img"))
    for control in page.of("input"):
        assert control["type"] == "range"  # its role is slider, and the arrow keys move it
        assert control["aria-label"]
    labels = [control["aria-label"] for control in page.of("input")]
    assert len(labels) == len(set(labels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        assert set(str(attributes.get("aria-labelledby", "")).split()) <= set(ids)
        if str(attributes.get("href", "")).startswith("#"):
            assert str(attributes["href"])[1:] in ids


def contrast(one: str, other: str) -> float:
    """Of two colours ``#rgb`` or ``#rrggbb``, by WCAG's definition of relative luminance."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    levels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in levels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
