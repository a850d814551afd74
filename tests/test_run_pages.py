"""The pages of runs of captioners and painters: all that was measured, alone in one file, and nothing foreign runs."""

from __future__ import annotations

import math
import re

import pytest
from html_pages import HOSTILE, Page, check_stands_alone

from cvtool.caption.run_report import page as captioner_page
from cvtool.run_pages import FRAMES, last_best, thinned, value
from cvtool.stylize.instant.report import page as painter_page

DOT = "data:image/png;base64,iVBORw0KGgo="


def epoch(number: int, cider: float = 0.5, phase: str = "words", **more: object) -> dict[str, object]:
    metrics = {"bleu1": 0.6, "bleu2": 0.4, "bleu3": 0.3, "bleu4": 0.2, "rouge_l": 0.45, "cider": cider,
               "mean_length": 9.5}  # fmt: skip
    return {"epoch": number, "step": 10 * number, "phase": phase, "loss": 40.0 - number, "perplexity": 20.0,
            "metrics": metrics, "seconds": 3.5, "tokens_per_second": 900.0, "is_best": True,
            "captions": {"a.jpg": "a dog", "b.jpg": ""}, **more}  # fmt: skip


def check(step: int, **more: object) -> dict[str, object]:
    return {"step": step, "loss": 2.0, "style": 1.0, "content": 0.5, "tv": 0.01, "held_out_loss": 2.5, "is_best": True,
            **more}  # fmt: skip


EPOCHS = [epoch(1, 0.3), epoch(2, 0.7), epoch(3, 0.6, is_best=False)]


def labels(page: Page) -> list[str]:
    return [str(svg["aria-label"]) for svg in page.of("svg") if svg.get("role") == "img"]


def test_a_captioner() -> None:
    page = Page(captioner_page({"data": {"spec": "d"}}, EPOCHS, [(i, DOT) for i in (1, 2, 3)], command="cvtool c"))
    check_stands_alone(page)
    assert "The best captioner is that of epoch 2." in page.texts
    assert page.texts[page.texts.index("CIDEr-D") + 1] == "0.7"
    assert "Epoch 3, CIDEr-D 0.6" in page.texts
    said = [str(image["alt"]) for image in page.of("img")]
    assert said[1].endswith("Epoch 2, CIDEr-D 0.7. a.jpg: a dog. b.jpg: (no words).")
    assert labels(page)[0] == "Training loss by epoch. Last: Loss 37."
    head, *table = [row for row in page.rows() if len(row) > 2]
    assert dict(zip(head, table[2], strict=True)) == {
        "Epoch": "3", "Step": "30", "Loss": "37", "Perplexity": "20", "BLEU-1": "0.6", "BLEU-2": "0.4", "BLEU-3": "0.3",
        "BLEU-4": "0.2", "ROUGE-L": "0.45", "CIDEr-D": "0.6", "Words per caption": "9.5", "Words/s": "900",
        "Seconds": "3.5",
    }  # fmt: skip
    assert page.numbers()["data.spec"] == "d"
    assert "cvtool c" in page.texts


def test_rewards_are_no_losses() -> None:
    page = Page(captioner_page({}, [epoch(1), epoch(2, phase="self-critical", loss=-0.75)]))
    assert labels(page)[:2] == ["Training loss by epoch. Last: Loss 39.", "Reward by epoch. Last: Reward 0.75."]


def test_epochs_are_whole() -> None:
    axis = re.findall(r'text-anchor="middle">([^<]*)<', captioner_page({}, [epoch(1), epoch(2)]))
    assert set(axis) == {"0", "1", "2", "epoch"}


def test_a_painter() -> None:
    page = Page(painter_page({"a": 1}, [check(5), check(10, held_out_loss=2.6, is_best=False)], [(5, DOT), (10, DOT)]))
    check_stands_alone(page)
    assert "The best painter is that of step 5." in page.texts
    assert "Step 10, held-out loss 2.6" in page.texts
    assert labels(page)[0] == "Loss by step. Last: Loss 2, Held-out loss 2.6."


@pytest.mark.parametrize("make", [captioner_page, painter_page])
def test_what_is_foreign_is_only_shown(make) -> None:
    own = epoch(1, captions={HOSTILE: HOSTILE}) if make is captioner_page else check(1)
    page = Page(make({HOSTILE: {HOSTILE: HOSTILE}}, [own], [(1, DOT)], command=HOSTILE, title=HOSTILE))
    check_stands_alone(page)
    assert len(page.scripts) == 1
    assert page.texts.count(HOSTILE) >= 3
    if make is captioner_page:
        assert f"{HOSTILE}: {HOSTILE}." in str(page.of("img")[0]["alt"])


@pytest.mark.parametrize("make", [captioner_page, painter_page])
@pytest.mark.parametrize("odd", [None, math.nan, -math.inf, "x", [1], {"a": 1}, 10**400, True])
def test_records_that_are_odd(make, odd: object) -> None:
    names = ("loss", "perplexity", "metrics", "captions", "held_out_loss", "is_best", "phase")
    records = [{**epoch(1), **check(10)}, {**epoch(2), **check(20), **dict.fromkeys(names, odd)}, {"epoch": odd}]
    check_stands_alone(Page(make({}, records, [(1, DOT)])))
    assert "Nothing has been measured yet." in Page(make({}, [])).texts


def test_the_last_that_was_best() -> None:
    assert last_best([{"is_best": True, "n": 1}, {"is_best": True, "n": 2}, {"is_best": False}]) == {
        "is_best": True,
        "n": 2,
    }
    assert last_best([{}]) is None
    assert math.isnan(value({}, "n"))


def test_many_are_thinned_evenly() -> None:
    found = thinned(range(1000))
    assert (len(found), found[0], found[-1]) == (FRAMES, 0, 999)
    assert thinned(range(3)) == [0, 1, 2]
