"""The metrics against pycocoevalcap's own scorers: on captions by people, and on random ones."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest

from cvtool.caption.metrics import CiderD, score
from cvtool.caption.vocabulary import tokenize

WHY = "the oracle is not installed: pip install --no-deps pycocoevalcap"
Bleu = pytest.importorskip("pycocoevalcap.bleu.bleu", reason=WHY).Bleu
Cider = pytest.importorskip("pycocoevalcap.cider.cider", reason=WHY).Cider
Rouge = pytest.importorskip("pycocoevalcap.rouge.rouge", reason=WHY).Rouge

Hypotheses = dict[str, list[str]]
References = dict[str, list[list[str]]]


def assert_equal_scores(hypotheses: Hypotheses, references: References) -> None:
    results = {name: [" ".join(words)] for name, words in hypotheses.items()}
    truths = {name: [" ".join(words) for words in references[name]] for name in hypotheses}
    metrics = score(hypotheses, references)
    expected_bleu = Bleu(4).compute_score(truths, results, verbose=0)[0]
    assert [metrics.bleu1, metrics.bleu2, metrics.bleu3, metrics.bleu4] == pytest.approx(expected_bleu, abs=1e-9)
    assert metrics.rouge_l == pytest.approx(Rouge().compute_score(truths, results)[0], abs=1e-9)
    mean, each = Cider().compute_score(truths, results)
    assert metrics.cider == pytest.approx(mean, abs=1e-9)
    assert list(metrics.cider_each.values()) == pytest.approx(each.tolist(), abs=1e-9)
    names = list(hypotheses)
    rewards = CiderD({name: references[name] for name in names}).scores(names, list(hypotheses.values()))
    assert rewards.tolist() == pytest.approx(each.tolist(), abs=1e-9)


@pytest.fixture(scope="module")
def captions_by_people(shared_data: Path) -> References:
    """Flickr8k's development pictures with five captions each."""
    folder = shared_data / "flickr8k"
    wanted = set((folder / "Flickr_8k.devImages.txt").read_text().split())
    captions = defaultdict(list)
    for line in (folder / "Flickr8k.token.txt").read_text("utf-8").splitlines():
        name, text = line.split("\t")
        if (picture := name.split("#")[0]) in wanted:
            captions[picture].append(tokenize(text))
    assert len(captions) == 1000
    return dict(captions)


@pytest.mark.shared
@pytest.mark.parametrize("left_out", [0, 3])
def test_one_caption_by_people_against_the_other_four(captions_by_people: References, left_out: int):
    hypotheses = {name: captions[left_out] for name, captions in captions_by_people.items()}
    references = {name: captions[:left_out] + captions[left_out + 1 :] for name, captions in captions_by_people.items()}
    assert_equal_scores(hypotheses, references)


@pytest.mark.shared
def test_captions_of_other_pictures(captions_by_people: References):
    names = list(captions_by_people)[:300]
    hypotheses = {name: captions_by_people[other][0] for name, other in zip(names, names[1:] + names[:1], strict=True)}
    assert_equal_scores(hypotheses, captions_by_people)


@pytest.mark.parametrize("seed", range(40))
def test_random_captions(seed: int):
    # Few words, so that runs repeat within and between captions; hypotheses may be empty or far too long.
    chance = random.Random(seed)
    words = [f"w{i}" for i in range(chance.choice([2, 5, 20]))]

    def caption(shortest: int, longest: int) -> list[str]:
        return chance.choices(words, k=chance.randint(shortest, longest))

    names = [f"picture {i}" for i in range(chance.choice([1, 2, 3, 15]))]
    references = {name: [caption(1, 9) for _ in range(chance.randint(1, 6))] for name in [*names, "not captioned"]}
    assert_equal_scores({name: caption(0, chance.choice([5, 40])) for name in names}, references)
