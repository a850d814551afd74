"""What holds of the metrics for any captions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvtool.caption.metrics import bleu, cider_d, rouge_l, score

CAPTIONS = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=12)
PICTURES = st.lists(st.tuples(CAPTIONS, st.lists(CAPTIONS, min_size=1, max_size=4)), min_size=2, max_size=6)
Pictures = list[tuple[list[str], list[list[str]]]]

few_runs = settings(max_examples=80, deadline=None)


def split(pictures: Pictures) -> tuple[dict[str, list[str]], dict[str, list[list[str]]]]:
    hypotheses = {f"picture {i}": hypothesis for i, (hypothesis, _) in enumerate(pictures)}
    return hypotheses, {f"picture {i}": references for i, (_, references) in enumerate(pictures)}


@few_runs
@given(PICTURES)
def test_all_are_in_their_ranges(pictures: Pictures):
    metrics = score(*split(pictures))
    for value in (metrics.bleu1, metrics.bleu2, metrics.bleu3, metrics.bleu4, metrics.rouge_l):
        assert 0 <= value <= 1
    assert all(0 <= value <= 10 + 1e-9 for value in metrics.cider_each.values())


@few_runs
@given(PICTURES)
def test_the_order_of_references_and_of_pictures_does_not_matter(pictures: Pictures):
    hypotheses, references = split(pictures)
    turned = {name: each[::-1] for name, each in references.items()}
    backwards = dict(reversed(hypotheses.items()))
    there, again = score(hypotheses, references), score(backwards, turned)
    assert again.numbers() == pytest.approx(there.numbers(), abs=1e-12)
    assert again.cider_each == pytest.approx(there.cider_each, abs=1e-12)


@few_runs
@given(st.lists(st.lists(st.sampled_from("abcdefg"), min_size=4, max_size=12), min_size=2, max_size=6))
def test_a_caption_that_is_a_reference_is_perfect(captions: list[list[str]]):
    hypotheses = {str(i): caption for i, caption in enumerate(captions)}
    references = {str(i): [["x", "y"], caption, ["z"] * 30] for i, caption in enumerate(captions)}
    assert bleu(hypotheses, references) == pytest.approx((1, 1, 1, 1), abs=1e-8)
    assert rouge_l(hypotheses, references) == pytest.approx(1)


@few_runs
@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=4, max_size=9), min_size=2, max_size=6))
def test_a_caption_that_is_the_only_reference_scores_ten(captions: list[list[str]]):
    # A word of its own in each picture, or all words of a caption could be in all pictures and weigh nothing.
    own = {str(i): [f"own {i}" if j % 2 else word for j, word in enumerate(each)] for i, each in enumerate(captions)}
    assert cider_d(own, {name: [caption] for name, caption in own.items()}) == pytest.approx(dict.fromkeys(own, 10))


@few_runs
@given(PICTURES)
def test_nothing_in_common_scores_nothing(pictures: Pictures):
    hypotheses, references = split(pictures)
    foreign = {name: [f"not {word}" for word in words] for name, words in hypotheses.items()}
    metrics = score(foreign, references)
    assert metrics.bleu1 == pytest.approx(0, abs=1e-14)
    assert (metrics.rouge_l, metrics.cider) == (0, 0)


@few_runs
@given(PICTURES, CAPTIONS)
def test_one_more_reference_never_lowers_rouge(pictures: Pictures, more: list[str]):
    hypotheses, references = split(pictures)
    longer = {name: [*each, more] for name, each in references.items()}
    assert rouge_l(hypotheses, longer) >= rouge_l(hypotheses, references) - 1e-12


@few_runs
@given(PICTURES)
def test_only_which_words_are_equal_matters(pictures: Pictures):
    hypotheses, references = split(pictures)
    numbered = {name: [ord(word) for word in words] for name, words in hypotheses.items()}
    numbered_references = {name: [[ord(w) for w in words] for words in each] for name, each in references.items()}
    assert bleu(numbered, numbered_references) == bleu(hypotheses, references)
    assert rouge_l(numbered, numbered_references) == rouge_l(hypotheses, references)
    assert cider_d(numbered, numbered_references) == cider_d(hypotheses, references)
