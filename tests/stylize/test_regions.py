"""Painting regions with parts of styles: each takes on its own style, and what is in none stays as it is."""

import numpy as np
import pytest
import torch

from cvtool.errors import BadInputError, UsageError
from cvtool.models.loader import load
from cvtool.stylize import StylizeOptions, stylize
from cvtool.stylize.extractor import EVERYWHERE, Extractor
from cvtool.stylize.objective import Anchor, Objective, Region
from cvtool.stylize.recipes import RECIPES
from cvtool.stylize.styles import StyleBook
from cvtool.tensors import to_tensor

RNG = np.random.default_rng(0)
CONTENT = (0.3 + 0.4 * RNG.random((48, 64, 3))).astype(np.float32)
RED = np.concatenate([0.7 + 0.3 * RNG.random((40, 40, 1)), 0.2 * RNG.random((40, 40, 2))], 2).astype(np.float32)
BLUE = np.ascontiguousarray(RED[..., ::-1])
QUICK = StylizeOptions(size=0, steps=(10,), strength=90)


@pytest.fixture(scope="module")
def model():
    return load("efficientnet-lite0")


def left(soft=0):
    mask = np.zeros((48, 64), np.float32)
    mask[:, :24] = 1
    for i in range(soft):
        mask[:, 24 + i] = 1 - (i + 1) / (soft + 1)
    return mask


@pytest.mark.parametrize("soft", [0, 8])
def test_what_is_black_stays_to_the_last_bit(model, soft):
    result = stylize(CONTENT, [RED], model, QUICK, regions=[Region(left(soft))])
    np.testing.assert_array_equal(result.pixels[:, 24 + soft :], CONTENT[:, 24 + soft :])
    assert np.abs(result.pixels[:, :24] - CONTENT[:, :24]).mean() > 0.1


def test_each_region_takes_its_own_style(model):
    regions = [Region(left(), 0), Region(1 - left(), 1)]
    pixels = stylize(CONTENT, [RED, BLUE], model, QUICK, regions=regions).pixels
    here, there = pixels[:, :22].mean((0, 1)), pixels[:, 26:].mean((0, 1))
    assert here[0] > here[2] + 0.2
    assert there[2] > there[0] + 0.2


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_order_of_regions_does_not_matter(model, recipe):
    extractor = Extractor(model, ["blocks.0", "blocks.2"], ["blocks.3"], 0, "fp32")
    content = to_tensor(CONTENT * np.linspace(0.1, 1, 64, dtype=np.float32)[:, None])
    part = torch.from_numpy(left())[None, None]
    here, there = (extractor(to_tensor(style), EVERYWHERE).moments[0] for style in (RED, BLUE))
    found = [
        Objective(RECIPES[recipe], extractor, content=content, targets=targets, guides=guides, strength=50, tv=0)(
            content
        )
        for targets, guides in (([here, there], [part, 1 - part]), ([there, here], [1 - part, part]))
    ]
    assert float(found[0]["style"]) == pytest.approx(float(found[1]["style"]), rel=1e-5)


def test_only_the_part_of_the_style_under_its_mask_counts(model):
    both = np.concatenate([RED, BLUE], axis=1)
    only_red = np.zeros((40, 80), np.float32)
    only_red[:, :40] = 1
    everywhere = np.ones((48, 64), np.float32)
    part = stylize(CONTENT, [both], model, QUICK, regions=[Region(everywhere, None, only_red)]).pixels
    red = stylize(CONTENT, [RED], model, QUICK).pixels
    mixed = stylize(CONTENT, [both], model, QUICK).pixels
    assert np.abs(part.mean((0, 1)) - red.mean((0, 1))).max() < 0.05
    assert np.abs(mixed.mean((0, 1)) - red.mean((0, 1))).max() > 0.15


def test_a_white_mask_is_no_mask(model):
    masked = stylize(CONTENT, [RED], model, QUICK, regions=[Region(np.ones((48, 64), np.float32))]).pixels
    assert np.abs(masked - stylize(CONTENT, [RED], model, QUICK).pixels).mean() < 0.01


@pytest.mark.parametrize(
    ("region", "kind", "message"),
    [
        (Region(np.zeros((48, 64), np.float32)), BadInputError, "mask of the content is black"),
        (Region(left(), None, np.zeros((40, 40), np.float32)), BadInputError, "mask of a style is black"),
    ],
)
def test_empty_masks_are_refused(model, region, kind, message):
    with pytest.raises(kind, match=message):
        stylize(CONTENT, [RED], model, QUICK, regions=[region])


def test_a_part_of_a_style_file_is_refused(model, monkeypatch):
    from cvtool.stylize.service import save_style

    monkeypatch.setattr("cvtool.stylize.styles.SIZES", (64,))
    style = save_style([RED], [{"name": "red"}], model, StylizeOptions())
    with pytest.raises(UsageError, match="no picture"):
        stylize(CONTENT, [style], model, QUICK, regions=[Region(left(), None, np.ones((40, 40), np.float32))])


def test_resume_with_regions_and_another_mask_is_refused(model):
    kept = []
    stylize(CONTENT, [RED], model, QUICK, regions=[Region(left())], keep=kept.append)
    with pytest.raises(BadInputError, match="regions"):
        stylize(CONTENT, [RED], model, QUICK, regions=[Region(left(4))], resume=kept[0])


def test_an_anchor_holds_where_it_has_weight(model):
    held = np.full((48, 64, 3), 0.5, np.float32)
    anchor = Anchor(held, 1e3 * left())
    free = stylize(CONTENT, [RED], model, QUICK).pixels
    tied = stylize(CONTENT, [RED], model, QUICK, anchor=anchor).pixels
    assert np.abs(tied[:, :24] - 0.5).mean() < 0.5 * np.abs(free[:, :24] - 0.5).mean()
    assert np.abs(tied[:, 32:] - free[:, 32:]).mean() < 0.1


@pytest.fixture
def looks(monkeypatch):
    """What the network was asked about styles so far."""
    looks = []
    plain = Extractor.__call__
    monkeypatch.setattr(Extractor, "__call__", lambda self, *a, **k: (looks.append(k), plain(self, *a, **k))[1])
    return looks


def test_a_book_looks_at_each_style_once(model, looks):
    book = StyleBook()
    for content in (CONTENT, CONTENT[::-1].copy()):
        stylize(content, [RED], model, StylizeOptions(size=0, steps=(1,)), book=book)
    assert sum(k.get("maps") is False for k in looks) == 1


def test_a_book_forgets_what_was_asked_for_long_ago(model, looks, monkeypatch):
    monkeypatch.setattr("cvtool.stylize.styles.REMEMBERED", 2)
    extractor = Extractor(model, model.card.style_layers[:1], model.card.content_layers, 0, "fp32")
    book = StyleBook()
    first = {}
    for style, wanted in [("red", 1), ("blue", 2), ("red", 2), ("grey", 3), ("red", 3), ("blue", 4), ("grey", 5)]:
        pixels = {"red": RED, "blue": BLUE, "grey": RED[..., :1].repeat(3, 2)}[style]
        found = book.moments(pixels, None, 32, extractor)
        assert len(looks) == wanted
        again = first.setdefault(style, found)
        assert all(
            torch.equal(a, b) for one, two in zip(found, again, strict=True) for a, b in zip(one, two, strict=True)
        )


def test_tiles_paint_the_same_picture(model):
    content = np.asarray(torch.nn.functional.interpolate(to_tensor(CONTENT), size=(120, 160))[0].permute(1, 2, 0))
    options = StylizeOptions(size=0, steps=(3,), precision="fp32")
    whole = stylize(content, [RED], model, options).pixels
    tiled = stylize(content, [RED], model, StylizeOptions(**{**vars(options), "tile": 48})).pixels
    assert np.abs(whole - tiled).mean() < 2e-3
