"""Captions out of scores, against enumeration of every caption there is."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from captioners import next_logs, sentence_log, some_features, tiny
from scipy.stats import chisquare

from cvtool.caption.decoding import decode, draw, draw_greedily, follow, narrowed
from cvtool.caption.ensemble import Ensemble
from cvtool.caption.numpy_engine import NumpyCaptioner
from cvtool.caption.options import Decode, DecodeOptions
from cvtool.caption.vocabulary import END, NULL, START, UNKNOWN
from cvtool.tensors import seeded

SAYABLE = (4, 5, 6)
VOCABULARY = 7
MODES = {
    "greedy": DecodeOptions(decode=Decode.greedy, longest=5),
    "beam": DecodeOptions(beam=3, candidates=3, longest=5),
    "sample": DecodeOptions(decode=Decode.sample, candidates=3, longest=5, seed=3),
}


def small(cell: str = "lstm", **changes):
    return tiny(cell, words=VOCABULARY, **{"sharp": 3.0, **changes})


def every_caption(longest: int, prefix: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    return [
        (*prefix, *words)
        for length in range(max(1, len(prefix)), longest + 1)
        for words in itertools.product(SAYABLE, repeat=length - len(prefix))
    ]


def words_of(found) -> list[list[tuple[int, ...]]]:
    return [[sentence.words for sentence in each] for each in found]


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.5])
@pytest.mark.parametrize(("cell", "attention"), [("rnn", False), ("lstm", True), ("gru", True)])
def test_a_beam_that_keeps_all_finds_the_best_of_all(cell, attention, length_penalty) -> None:
    captioner, features, longest = small(cell, attention=attention), some_features(2), 3
    options = DecodeOptions(beam=60, length_penalty=length_penalty, candidates=12, longest=longest)
    found = decode(captioner, captioner.see_pictures(features), options)
    for picture, each in zip(features, found, strict=True):
        logs = {words: sentence_log(captioner, picture, words, longest) for words in every_caption(longest)}
        assert math.fsum(map(math.exp, logs.values())) == pytest.approx(1)  # these are all captions there are
        # <END> counts as a word, also where the caption was cut before it.
        best = sorted(logs, key=lambda words: logs[words] / (len(words) + 1) ** length_penalty, reverse=True)
        assert [sentence.words for sentence in each] == best[:12]
        for sentence in each:
            assert sentence.log_probability == pytest.approx(logs[sentence.words], rel=1e-4)


def test_a_beam_is_no_worse_than_greedy_and_the_best_comes_first() -> None:
    captioner = tiny(sharp=4.0)
    seen = captioner.see_pictures(some_features(20))
    options = DecodeOptions(beam=5, candidates=5, length_penalty=0.7, longest=6)
    better = 0
    for greedy, beam in zip(
        decode(captioner, seen, DecodeOptions(decode=Decode.greedy, longest=6)),
        decode(captioner, seen, options),
        strict=True,
    ):
        ranks = [each.log_probability / (len(each.words) + 1) ** 0.7 for each in beam]
        assert ranks == sorted(ranks, reverse=True)
        assert len({each.words for each in beam}) == 5
        better += ranks[0] >= greedy[0].log_probability / (len(greedy[0].words) + 1) ** 0.7 - 1e-6
    assert better >= 19  # a beam can lose what greedy finds, but seldom does


def test_greedy_takes_the_likeliest_word_each_time() -> None:
    captioner, features = small(layers=2), some_features(6)
    seen = captioner.see_pictures(features)
    found = words_of(decode(captioner, seen, MODES["greedy"]))
    for picture, (sentence,) in zip(features, found, strict=True):
        said: list[int] = []
        while len(said) < 5 and (word := int(next_logs(captioner, picture, said).argmax())) != END:
            said.append(word)
        assert sentence == tuple(said)
    assert len({tuple(each) for each in found}) > 1
    assert words_of(decode(captioner, seen, DecodeOptions(beam=1, longest=5))) == found
    assert [len(each) for each in decode(captioner, seen, DecodeOptions(beam=1, candidates=3, longest=5))] == [3] * 6


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_picture_says_the_same_alone_and_in_company(cell, mode) -> None:
    captioner, features = small(cell, layers=2), some_features(7)
    together = decode(captioner, captioner.see_pictures(features), MODES[mode])
    for number, each in enumerate(together):
        (alone,) = decode(captioner, captioner.see_pictures(features[number : number + 1]), MODES[mode])
        assert [sentence.words for sentence in alone] == [sentence.words for sentence in each]
        for one, other in zip(alone, each, strict=True):
            assert one.log_probability == pytest.approx(other.log_probability, rel=1e-4)
    assert len({tuple(sentence.words for sentence in each) for each in together}) > 1


@pytest.mark.parametrize("mode", MODES)
def test_probabilities_are_those_of_the_softmax(mode) -> None:
    captioner, features = small(), some_features(3)
    for picture, each in zip(features, decode(captioner, captioner.see_pictures(features), MODES[mode]), strict=True):
        for sentence in each:
            said = [*sentence.words, END] if len(sentence.words) < 5 else [*sentence.words]
            logs = [next_logs(captioner, picture, said[:place])[word] for place, word in enumerate(said)]
            assert sentence.log_probability == pytest.approx(sum(logs), rel=1e-4)
            assert sentence.probabilities == pytest.approx(np.exp(logs), rel=1e-4)
        ranks = [sentence.log_probability for sentence in each]
        if mode == "sample":
            assert ranks == sorted(ranks, reverse=True)


@pytest.mark.parametrize("mode", MODES)
def test_captions_begin_with_the_prefix(mode) -> None:
    from dataclasses import replace

    captioner, seen = small(), small().see_pictures(some_features(4))
    for each in decode(captioner, seen, replace(MODES[mode], prefix=(6, 6))):
        for sentence in each:
            assert sentence.words[:2] == (6, 6)
            assert len(sentence.words) <= 5
            assert len(sentence.probabilities) == len(sentence.words) + (len(sentence.words) < 5)
    for each in decode(captioner, seen, replace(MODES[mode], prefix=(6, 5, 6, 5, 4))):
        assert {sentence.words for sentence in each} == {(6, 5, 6, 5, 4)}


def test_a_beam_behind_a_prefix_finds_the_best_of_all() -> None:
    captioner, features = small(), some_features(1)
    options = DecodeOptions(beam=40, length_penalty=0, candidates=5, longest=4, prefix=(5, 4))
    ((*found,),) = decode(captioner, captioner.see_pictures(features), options)
    logs = {words: sentence_log(captioner, features[0], words, 4) for words in every_caption(4, (5, 4))}
    assert [sentence.words for sentence in found] == sorted(logs, key=logs.__getitem__, reverse=True)[:5]


@pytest.mark.parametrize("mode", MODES)
def test_there_is_always_an_answer(mode) -> None:
    """Also when the captioner wants to stop at once, to go on for ever, or to say what nobody may say."""
    from dataclasses import replace

    captioner, features = small(tie=False), some_features(2)
    for wish in (END, 5, NULL, START, UNKNOWN):
        captioner.scores.bias.zero_()
        captioner.scores.bias[wish] = 50.0
        for longest in (1, 2, 4):
            options = replace(MODES[mode], longest=longest)
            for each in decode(captioner, captioner.see_pictures(features), options):
                assert len(each) == (1 if mode == "greedy" else 3)
                for sentence in each:
                    assert 1 <= len(sentence.words) <= longest
                    assert set(sentence.words) <= set(SAYABLE)
                    assert math.isfinite(sentence.log_probability)
                if wish == END and mode != "beam":  # the beam is asked for three different ones
                    assert all(len(sentence.words) == 1 for sentence in each)
                if wish == 5:
                    assert each[0].words == (5,) * longest


def test_no_more_candidates_than_there_are_captions() -> None:
    captioner = small()
    (found,) = decode(captioner, captioner.see_pictures(some_features(1)), DecodeOptions(candidates=50, longest=2))
    assert sorted(sentence.words for sentence in found) == sorted(every_caption(2))


def test_draw_is_of_the_networks_own_distribution() -> None:
    captioner, features, longest = small(sharp=2.0), some_features(2), 2
    drawn = draw(captioner, captioner.see_pictures(features), 20000, longest, seeded(0))
    assert drawn.shape == (2, 20000, 3)
    for picture, rows in zip(features, drawn.tolist(), strict=True):
        counts = Counter(tuple(word for word in row if word not in (END, NULL)) for row in rows)
        logs = {words: sentence_log(captioner, picture, words, longest) for words in every_caption(longest)}
        assert set(counts) <= set(logs)
        expected = [20000 * math.exp(log) for log in logs.values()]
        assert chisquare([counts[words] for words in logs], expected).pvalue > 0.01
        assert len({tuple(row) for row in rows[:50]}) > 1
    for rows in drawn.tolist():
        for row in rows[:100]:
            assert row.count(END) == 1
            assert set(row[row.index(END) + 1 :]) <= {NULL}


def test_draw_is_of_the_distribution_at_its_temperature() -> None:
    captioner, features = small(sharp=2.0), some_features(1)
    drawn = draw(captioner, captioner.see_pictures(features), 20000, 1, seeded(0), 0.5)[0, :, 0]
    chances = np.exp(next_logs(captioner, features[0], []) / 0.5)
    counts = np.bincount(drawn.numpy(), minlength=len(chances))
    there = chances > 0
    assert counts[~there].sum() == 0
    assert chisquare(counts[there], 20000 * chances[there] / chances.sum()).pvalue > 0.01


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.5, 0, 1.0), (2.0, 2, 1.0), (1.0, 0, 0.7)]
)
def test_sampling_is_narrowed_as_asked(temperature, top_k, top_p) -> None:
    captioner, features = small(sharp=2.0), some_features(1)
    options = DecodeOptions(
        decode=Decode.sample, candidates=700, longest=1, temperature=temperature, top_k=top_k, top_p=top_p
    )
    (found,) = decode(captioner, captioner.see_pictures(features), options)
    counts = Counter(sentence.words[0] for sentence in found)
    chances = np.exp(next_logs(captioner, features[0], []) / temperature)[list(SAYABLE)]
    chances /= chances.sum()
    order = np.argsort(-chances)
    kept = list(order[:top_k] if top_k else order)
    if top_p < 1:
        kept = list(order[: 1 + int(np.searchsorted(chances[order].cumsum(), top_p))])
    assert set(counts) <= {SAYABLE[place] for place in kept}
    expected = 700 * chances[kept] / chances[kept].sum()
    if len(kept) > 1:
        assert chisquare([counts[SAYABLE[place]] for place in kept], expected).pvalue > 0.01


def test_sampling_follows_the_seed() -> None:
    captioner, seen = small(), small().see_pictures(some_features(2))
    once, again, other = (
        words_of(decode(captioner, seen, DecodeOptions(decode=Decode.sample, candidates=20, longest=5, seed=seed)))
        for seed in (1, 1, 2)
    )
    assert once == again != other


@pytest.mark.parametrize(
    ("top_k", "top_p", "left"),
    [
        (0, 1.0, 4), (1, 1.0, 1), (3, 1.0, 3), (9, 1.0, 4),
        (0, 0.0, 1), (0, 0.49, 1), (0, 0.51, 2), (0, 0.79, 2), (0, 0.81, 3), (0, 0.96, 4),
        (2, 0.9, 2), (3, 0.5, 1),
    ],
)  # fmt: skip
def test_narrowed_by_hand(top_k, top_p, left) -> None:
    shares = torch.tensor([0.15, 0.5, 0.05, 0.3])
    kept = narrowed(shares.log(), top_k, top_p).exp()
    wanted = torch.where(shares >= shares.sort(descending=True).values[left - 1], shares, 0.0)
    torch.testing.assert_close(kept, wanted)


def test_two_equal_captioners_speak_as_one() -> None:
    captioner, features = small(), some_features(3)
    twice = Ensemble([captioner, captioner])
    for options in MODES.values():
        one = decode(captioner, captioner.see_pictures(features), options)
        two = decode(twice, twice.see_pictures(features), options)
        assert words_of(one) == words_of(two)
        assert one[0][0].log_probability == pytest.approx(two[0][0].log_probability, rel=1e-4)


def test_two_captioners_average_their_probabilities() -> None:
    """Of different shapes, so that their states must not be mixed up."""
    pair = [small("lstm", seed=1, layers=2), small("gru", seed=2, attention=False)]
    features, words, longest = some_features(2), (5, 4, 6), 5
    ensemble = Ensemble(pair)
    seen = ensemble.see_pictures(features)
    for number, picture in enumerate(features):
        said = [*words, END]
        chances = []
        for place, word in enumerate(said):
            mean = np.mean([np.exp(next_logs(each, picture, said[:place], allowed=False)) for each in pair], axis=0)
            mean[[NULL, START, UNKNOWN, *([] if place else [END])]] = 0
            chances.append(mean[word] / mean.sum())
        logs, looked = follow(ensemble, seen[number : number + 1], words)
        np.testing.assert_allclose(np.exp(logs), chances, rtol=1e-4)
        np.testing.assert_allclose(looked, follow(pair[0], seen.each[0][number : number + 1], words)[1], rtol=1e-5)
    options = DecodeOptions(beam=400, candidates=5, length_penalty=0, longest=longest)
    (found, _) = decode(ensemble, seen, options)
    everything = {
        words: follow(ensemble, seen[:1], words, ended=len(words) < longest)[0].sum()
        for words in every_caption(longest)
    }
    assert [each.words for each in found] == sorted(everything, key=everything.__getitem__, reverse=True)[:5]


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_numpy_says_the_same(cell, attention) -> None:
    captioner, features = (tiny(cell, attention=attention, layers=2, sharp=3.0), some_features(5))
    plain = NumpyCaptioner(captioner)
    for options in MODES.values():
        wanted = decode(captioner, captioner.see_pictures(features), options)
        found = decode(plain, plain.see_pictures(features), options)
        assert words_of(found) == words_of(wanted)
        for one, other in zip(itertools.chain(*found), itertools.chain(*wanted), strict=True):
            assert one.probabilities == pytest.approx(other.probabilities, rel=1e-3)
    words = (4, 7, 9)
    looks = [follow(each, each.see_pictures(features[:1]), words)[1] for each in (captioner, plain)]
    if attention:
        np.testing.assert_allclose(looks[0], looks[1], rtol=1e-4)
        assert looks[0].shape == (4, features.shape[1])
    else:
        assert looks == [None, None]


def test_drawing_greedily_ends_every_row() -> None:
    captioner = small()
    words = draw_greedily(captioner, captioner.see_pictures(some_features(5)), 4)
    assert words.shape[:2] == (5, 1)
    for (row,) in words.tolist():
        assert row.count(END) == 1
        assert set(row[row.index(END) + 1 :]) <= {NULL}
