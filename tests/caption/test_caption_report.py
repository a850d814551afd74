"""The page of worst and best captions: which pictures, what is on it, and that nothing in it can run or be fetched."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from cvtool.caption.metrics import Metrics, score
from cvtool.caption.report import THUMBNAIL, Described, worst_and_best
from cvtool.caption.report import page as written
from cvtool.errors import UsageError

METRICS = Metrics(1234, 0.65432, 0.5, 0.25, 0.125, 0.4375, 0.60005, 10.256, 987, 0.9876,
                  ("Mind <this>.",), {"a": 0.1, "b": 0.15, "c": 2.1})  # fmt: skip
HOSTILE = "<script>alert(\"1\")</script> & 'x' {{ 7 * 7 }}"


class Page(HTMLParser):
    """Texts, and elements with their attributes; keeps count of what is open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def described(name: str, pixels: np.ndarray | None = None, caption: str = "a dog") -> Described:
    return Described(name, caption, ("a brown dog", "the dog"), 0.123456, pixels)


def picture_in(source: str | None) -> Image.Image:
    assert source is not None
    kind, _, data = source.partition(",")
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


class TestWorstAndBest:
    SCORES = {"b": 0.5, "a": 0.5, "c": 3.0, "d": 0.0, "e": 1.0}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("count", "worst", "best"),
        [(1, "d", "c"), (2, "da", "ce"), (3, "da", "ceb"), (50, "da", "ceb")],
    )
    def test_lowest_and_highest(self, count: int, worst: str, best: str):
        assert worst_and_best(self.SCORES, count) == (list(worst), list(best))

    def test_one_picture_and_none(self):
        assert worst_and_best({"a": 1.0}, 3) == ([], ["a"])
        assert worst_and_best({}, 3) == ([], [])

    def test_none_wanted(self):
        with pytest.raises(UsageError, match="at least 1"):
            worst_and_best(self.SCORES, 0)


class TestPage:
    def test_numbers_settings_notes_and_captions_are_there(self):
        text = written("Run 7", METRICS, {"decode": "beam", "beam": 5}, [described("w.jpg")], [described("b.jpg")])
        page = Page(text)
        assert page.open == []
        rows = dict(zip(page.texts, page.texts[1:], strict=False))
        assert rows["Pictures"] == "1,234"
        assert (rows["BLEU-1"], rows["BLEU-4"], rows["ROUGE-L"]) == ("0.6543", "0.1250", "0.4375")
        assert (rows["CIDEr-D"], rows["Words per caption"], rows["Different words"]) == ("0.6000", "10.26", "987")
        assert rows["Captions not in the training set"] == "98.8%"
        assert (rows["decode"], rows["beam"]) == ("beam", "5")
        assert "Mind <this>." in page.texts
        worst, best = page.texts.index("Worst captions"), page.texts.index("Best captions")
        assert "CIDEr-D 0.123 · w.jpg" in page.texts[worst:best]
        assert page.texts[best + 1 :] == ["a dog", "CIDEr-D 0.123 · b.jpg", "a brown dog", "the dog"]

    def test_histogram_holds_every_picture_once(self):
        # Up to 2.1, so 20 bars of 2.5 / 20 = 0.125: one picture in the first, one in the second, one in the 17th.
        page = Page(written("t", METRICS, {}, [], []))
        heights = [float(bar["height"] or 0) for bar in page.of("rect")]
        assert [i for i, height in enumerate(heights) if height] == [0, 1, 16]
        assert "2.00 to 2.12: 1" in page.texts
        assert sum(int(count) for count in re.findall(r"\d\.\d\d to \d\.\d\d: (\d+)", " ".join(page.texts))) == 3

    def test_pictures_are_inside_and_small(self):
        tall = np.zeros((1000, 500, 3), np.float32)
        tall[..., 0] = 1
        small = np.full((20, 30, 3), 0.5, np.float32)
        page = Page(written("t", METRICS, {}, [described("tall", tall), described("none")], [described("s", small)]))
        pictures = [picture_in(image["src"]) for image in page.of("img")]
        assert [picture.size for picture in pictures] == [(THUMBNAIL // 2, THUMBNAIL), (30, 20)]
        assert np.asarray(pictures[0])[200, 80].tolist() == pytest.approx([255, 0, 0], abs=3)
        assert np.asarray(pictures[1])[10, 10].tolist() == pytest.approx([128, 128, 128], abs=2)

    def test_nothing_is_fetched_or_run(self):
        pixels = np.zeros((8, 8, 3), np.float32)
        hostile = Described(HOSTILE, HOSTILE, (HOSTILE,), 1.0, pixels)
        page = Page(text := written(HOSTILE, METRICS, {HOSTILE: HOSTILE}, [hostile], []))
        assert not page.of("script") + page.of("link") + page.of("a") + page.of("iframe")
        assert page.of("img")[0]["alt"] == HOSTILE  # quotes did not end the attribute
        assert page.texts.count(HOSTILE) >= 5
        assert "49" not in [word for part in page.texts for word in part.split()]
        assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
        assert not re.search(r"https?://|url\(|@import", text)

    def test_the_same_twice(self):
        pixels = np.linspace(0, 1, 40 * 50 * 3, dtype=np.float32).reshape(40, 50, 3)
        pages = {written("t", METRICS, {"seed": 0}, [described("w", pixels)], []) for _ in range(2)}
        assert len(pages) == 1

    def test_without_words_without_pictures(self):
        metrics = score({"a": [], "b": []}, {"a": [["x"]], "b": [["y"]]})
        page = Page(written("t", metrics, {}, [described("a", caption="")], []))
        assert "(no words)" in page.texts
        assert "Best captions" not in page.texts
        assert "Captions not in the training set" not in page.texts
