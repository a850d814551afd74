"""The metrics on captions whose scores are worked out by hand, and on the course's golden set."""

from __future__ import annotations

import json
from math import e, exp, log, sqrt
from pathlib import Path

import numpy as np
import pytest

from cvtool.caption.metrics import CiderD, Metrics, bleu, cider_d, rouge_l, score, score_texts
from cvtool.errors import BadInputError, UsageError

GUARDS = 1e-7  # pycocoevalcap adds 1e-9 to what it divides by


def words(*texts: str) -> list[list[str]]:
    return [text.split() for text in texts]


def bleu_of(hypothesis: str, *references: str) -> tuple[float, float, float, float]:
    return bleu({"p": hypothesis.split()}, {"p": words(*references)})


def rouge_of(hypothesis: str, *references: str) -> float:
    return rouge_l({"p": hypothesis.split()}, {"p": words(*references)})


def cider_of(hypothesis: str, *references: str, others: tuple[str, ...]) -> float:
    scorer = CiderD({"p": words(*references), **{f"other {i}": words(text) for i, text in enumerate(others)}})
    return scorer.score("p", hypothesis.split())


REFERENCES = {"p": words("a b c d"), "q": words("e f g h", "e f"), "r": words("i")}


class TestBleu:
    def test_a_repeated_word_counts_as_often_as_in_one_reference(self):
        # Papineni et al. 2002, section 2.1: "the" is at most twice in one reference, so 2 of 7 words count.
        scores = bleu_of("the the the the the the the", "the cat is on the mat", "there is a cat on the mat")
        assert scores[0] == pytest.approx(2 / 7, abs=GUARDS)

    def test_precisions_are_averaged_geometrically(self):
        # "a b c d e" against "a b c x e": words 4/5; pairs ab, bc of 4; triples abc of 3; no quadruple of 2.
        scores = bleu_of("a b c d e", "a b c x e")
        assert scores[0] == pytest.approx(4 / 5, abs=GUARDS)
        assert scores[1] == pytest.approx(sqrt(4 / 5 * 2 / 4), abs=GUARDS)
        assert scores[2] == pytest.approx((4 / 5 * 2 / 4 * 1 / 3) ** (1 / 3), abs=GUARDS)
        assert scores[3] == pytest.approx((4 / 5 * 2 / 4 * 1 / 3 * 1e-15 / 2) ** (1 / 4), rel=1e-6)

    def test_short_captions_are_punished(self):
        # All words are right, half of the reference's length: exp(1 - 4/2).
        assert bleu_of("a b", "a b c d")[:2] == pytest.approx((1 / e, 1 / e), abs=GUARDS)

    def test_of_two_references_equally_close_the_shorter_counts(self):
        # Three words against two and four: no punishment. Words: a, b of three.
        assert bleu_of("a b x", "a b", "a b c d")[0] == pytest.approx(2 / 3, abs=GUARDS)

    def test_without_any_pair_of_words(self):
        # No pair among none: pycocoevalcap says 1e-15 / 1e-9, so one right word scores sqrt(1 · 1e-6).
        assert bleu_of("a", "a")[1] == pytest.approx(1e-3, rel=1e-6)

    def test_counts_are_summed_over_the_set(self):
        # 1 of 1 word and 0 of 3 words: 1/4, not the mean of 1 and 0.
        scores = bleu({"p": ["a"], "q": ["x", "y", "z"]}, {"p": words("a"), "q": words("a b c")})
        assert scores[0] == pytest.approx(1 / 4, abs=GUARDS)


class TestRougeL:
    def test_example_of_the_paper(self):
        # Lin 2004, section 3.1: against "police killed the gunman" the first shares 3 of 4 in order, the second 2.
        assert rouge_of("police kill the gunman", "police killed the gunman") == pytest.approx(3 / 4)
        assert rouge_of("the gunman kill police", "police killed the gunman") == pytest.approx(2 / 4)

    def test_recall_weighs_more(self):
        # P = 2/2, R = 2/4: 2.44 · 1 · 0.5 / (0.5 + 1.44 · 1) = 1.22 / 1.94
        assert rouge_of("a b", "a b c d") == pytest.approx(1.22 / 1.94)

    def test_precision_and_recall_may_come_from_different_references(self):
        # Against "a": P = 1/4, R = 1. Against "a b c x y z": P = 3/4, R = 3/6. Best: 3/4 and 1.
        assert rouge_of("a b c d", "a", "a b c x y z") == pytest.approx(2.44 * 0.75 / (1 + 1.44 * 0.75))

    @pytest.mark.parametrize("hypothesis", ["", "x y"])
    def test_nothing_shared(self, hypothesis: str):
        assert rouge_of(hypothesis, "a b") == 0

    def test_mean_over_pictures(self):
        assert rouge_l({"p": ["a"], "q": ["x"]}, {"p": words("a"), "q": words("a")}) == 0.5


class TestCiderD:
    def test_the_only_reference_repeated_scores_ten(self):
        assert cider_of("a b c d", "a b c d", others=("e f g h",)) == pytest.approx(10)

    def test_two_words_have_no_runs_of_three_and_four(self):
        assert cider_of("a b", "a b", others=("c d",)) == pytest.approx(10 * (1 + 1 + 0 + 0) / 4)

    def test_half_of_the_words(self):
        # With L = log 2: (L, L) against (L, L) share L², over √2 L · √2 L: 1/2; no pair is shared.
        assert cider_of("a x", "a b", others=("c d",)) == pytest.approx(10 * (1 / 2) / 4)

    def test_a_repeated_word_is_clipped(self):
        # 2 L of "a" against (L, L): min(2 L, L) · L = L², over 2 L · √2 L.
        assert cider_of("a a", "a b", others=("c d",)) == pytest.approx(10 * 1 / (2 * sqrt(2)) / 4)

    def test_a_word_twice_in_the_reference_too(self):
        # 2 L of "a" against (2 L, L): 4 L² over 2 L · √5 L; the pair "a a" against "a a", "a b": 1 / √2. Two words
        # against three: exp(-1/72).
        expected = 10 * exp(-1 / 72) * (2 / sqrt(5) + 1 / sqrt(2)) / 4
        assert cider_of("a a", "a a b", others=("c d",)) == pytest.approx(expected)

    def test_another_length_is_punished(self):
        # Eight words against two: exp(-6²/(2 · 6²)). Words: 2 L² over √8 L · √2 L; pairs: 1 over √7 · 1.
        expected = 10 * exp(-1 / 2) * (2 / 4 + 1 / sqrt(7)) / 4
        assert cider_of("a b e f g h i j", "a b", others=("c d",)) == pytest.approx(expected)

    def test_words_weigh_by_how_many_pictures_have_them(self):
        # Of four pictures two have "u", one "v": log 4/2 and log 4/1, 1 to 2. "u" alone: 1 · 1 over 1 · √5.
        expected = 10 * exp(-1 / 72) * (1 / sqrt(5)) / 4
        assert cider_of("u", "u v", others=("u w", "x", "y")) == pytest.approx(expected)

    def test_a_picture_counts_once_however_many_references_have_the_word(self):
        # "u" is in two captions of one picture of two and weighs log 2 as "v" does.
        assert cider_of("u x", "u v", "u w", others=("c",)) == pytest.approx(10 * (1 / 2) / 4)

    def test_words_of_all_pictures_weigh_nothing(self):
        assert cider_of("the", "the a", others=("the b",)) == 0

    def test_mean_over_references(self):
        assert cider_of("a b", "a b", "x y", others=("c d",)) == pytest.approx(10 * (2 / 4) / 2)

    def test_no_words(self):
        assert cider_of("", "a b", others=("c d",)) == 0

    def test_very_different_lengths(self):
        assert cider_of(" ".join(["a"] * 500), "a b", others=("c d",)) == pytest.approx(0, abs=1e-20)

    def test_one_picture_scores_nothing(self):
        assert cider_of("a b c d", "a b c d", others=()) == 0

    def test_numbers_serve_as_words(self):
        texts = {"p": words("a b a c", "b c"), "q": words("c a d d", "a b")}
        numbers = {name: [[ord(word) for word in caption] for caption in captions] for name, captions in texts.items()}
        hypothesis = ["a", "b", "c", "d", "d"]
        as_numbers = CiderD(numbers).score("p", [ord(word) for word in hypothesis])
        assert 0 < as_numbers == CiderD(texts).score("p", hypothesis)

    def test_batches_keep_their_order_and_need_no_memory_of_pictures(self):
        references = {"p": words("a b", "a c"), "q": words("c d", "b d d"), "r": words("e f")}
        names = ["q", "p", "r", "q", "p"]
        hypotheses = words("c d e", "a c", "a b", "b d", "a b c")
        expected = [CiderD(references).score(*pair) for pair in zip(names, hypotheses, strict=True)]
        for kept in (0, 1, 100):
            scorer = CiderD(references, pictures_kept=kept)
            for _ in range(2):
                scores = scorer.scores(names, hypotheses)
                assert scores.dtype == np.float64
                assert scores.tolist() == expected
        assert len(set(expected)) > 3

    def test_an_end_token_makes_a_cut_off_caption_worse(self):
        whole, cut = ["a", "dog", "runs", "on", "the", "grass", "END"], ["a", "dog", "runs", "on", "the"]
        scorer = CiderD({"p": [whole], "q": words("two men talk END")})
        assert scorer.score("p", cut) < scorer.score("p", whole) == pytest.approx(10)

    def test_what_cannot_be_scored(self):
        scorer = CiderD({"p": words("a b")})
        assert len(scorer) == 1
        with pytest.raises(UsageError, match="no references for the picture 'q'"):
            scorer.scores(["q"], [["a"]])
        with pytest.raises(UsageError, match="1 pictures for 2 captions"):
            scorer.scores(["p"], [["a"], ["b"]])
        with pytest.raises(UsageError, match="no references for the picture 'q'"):
            cider_d({"q": ["a"]}, {"p": words("a b")})
        for references, message in (({}, "needs references"), ({"p": []}, "has no references"), ({"p": "a"}, "text")):
            with pytest.raises(UsageError, match=message):
                CiderD(references)
        with pytest.raises(UsageError, match="text"):
            CiderD({"p": ["a dog"]})


class TestScore:
    def test_all_numbers(self):
        hypotheses = {"p": ["a", "b", "c", "d"], "q": ["e", "x"]}
        metrics = score(hypotheses, REFERENCES, known=words("a b c d", "u"))
        assert (metrics.images, metrics.mean_length, metrics.distinct_words, metrics.novelty) == (2, 3, 6, 0.5)
        assert (metrics.bleu1, metrics.bleu2, metrics.bleu3, metrics.bleu4) == bleu(hypotheses, REFERENCES)
        # "p" is perfect. "q" shares one of two words with "e f", and with "e f g h" one of four, two words shorter.
        of_q = 10 * (1 / 2 + exp(-4 / 72) / (sqrt(2) * 2)) / 4 / 2
        assert metrics.cider_each == pytest.approx({"p": 10, "q": of_q})
        assert metrics.cider == pytest.approx((10 + of_q) / 2)
        assert metrics.rouge_l == pytest.approx((1 + 0.5) / 2)
        assert metrics.notes == ("1 of 3 pictures with references have no caption and do not count.",)
        assert list(metrics.numbers())[:7] == ["images", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider"]
        assert list(metrics.numbers())[7:] == ["mean_length", "distinct_words", "novelty"]

    def test_without_training_captions_there_is_no_novelty(self):
        metrics = score({"p": ["a"], "q": ["b"]}, REFERENCES)
        assert metrics.novelty is None
        assert "novelty" not in metrics.numbers()

    def test_a_single_picture_is_noted(self):
        metrics = score({"p": ["a", "b", "c", "d"]}, {"p": words("a b c d")})
        assert metrics.cider == 0
        assert metrics.bleu4 == pytest.approx(1, abs=GUARDS)
        [note] = metrics.notes
        assert "CIDEr is 0 for a single picture" in note

    def test_a_single_picture_with_the_weights_of_a_larger_set(self):
        metrics = score({"p": ["a", "b", "c", "d"]}, {"p": words("a b c d")}, cider=CiderD(REFERENCES))
        assert metrics.cider == pytest.approx(10)
        assert metrics.notes == ()

    def test_pictures_without_caption_do_not_weigh_words(self):
        # Among "p" and "q" alone "u" and "v" are equally rare; "r" would make "u" the more frequent one.
        references = {"p": words("u v"), "q": words("x y"), "r": words("u w")}
        metrics = score({"p": ["u"], "q": ["x"]}, references)
        assert metrics.cider_each["p"] == pytest.approx(10 * exp(-1 / 72) / sqrt(2) / 4)

    def test_an_empty_caption_counts(self):
        metrics = score({"p": [], "q": []}, REFERENCES)
        assert (metrics.bleu1, metrics.rouge_l, metrics.cider, metrics.mean_length) == (0, 0, 0, 0)

    def test_what_cannot_be_scored(self):
        with pytest.raises(BadInputError, match="no captions to score"):
            score({}, REFERENCES)
        with pytest.raises(BadInputError, match="'x' has a caption but no reference"):
            score({"p": ["a"], "x": ["a"]}, REFERENCES)
        with pytest.raises(BadInputError, match="'p' has a caption but no reference"):
            score({"p": ["a"]}, {"p": []})
        with pytest.raises(UsageError, match="'p' is a text"):
            score({"p": "a b"}, REFERENCES)

    def test_texts_are_made_words_of(self):
        texts = score_texts({"p": "A dog.", "q": "b"}, {"p": ["a dog", "x"], "q": ["B!"]}, known=["A  DOG", "B!"])
        expected = score(
            {"p": ["a", "dog"], "q": ["b"]}, {"p": words("a dog", "x"), "q": words("b")}, known=words("a dog", "b")
        )
        assert texts == expected
        assert texts.novelty == 0


@pytest.mark.shared
def test_golden_captions(shared_data: Path):
    golden = json.loads((shared_data / "cs231n" / "golden.json").read_text())["caption_metrics_toy"]
    references = {name: words(*texts) for name, texts in golden["gts"].items()}
    metrics: Metrics = score({name: text.split() for name, text in golden["res"].items()}, references)
    assert [metrics.bleu1, metrics.bleu2, metrics.bleu3, metrics.bleu4] == pytest.approx(golden["BLEU1-4"], abs=1e-9)
    assert metrics.rouge_l == pytest.approx(golden["ROUGE_L"], abs=1e-12)
    assert metrics.cider == pytest.approx(golden["CIDEr"], abs=1e-12)
    assert list(metrics.cider_each.values()) == pytest.approx(golden["CIDEr_per_image"], abs=1e-12)


def test_a_rare_word_is_worth_more_than_a_frequent_one():
    references = {"p": words("dog grass"), **{f"other {i}": words("dog") for i in range(6)}, "last": words("sky")}
    scorer = CiderD(references)
    # Eight pictures: "dog" in seven weighs log 8/7, "grass" log 8.
    dog, grass = log(8 / 7), log(8)
    norm = sqrt(dog**2 + grass**2)
    assert scorer.score("p", ["dog"]) == pytest.approx(10 * exp(-1 / 72) * dog / norm / 4)
    assert scorer.score("p", ["grass"]) == pytest.approx(10 * exp(-1 / 72) * grass / norm / 4)
