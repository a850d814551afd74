"""All metrics of a set of captions at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cvtool.caption.metrics.bleu import bleu
from cvtool.caption.metrics.cider import CiderD, cider_d
from cvtool.caption.metrics.rouge import rouge_l
from cvtool.caption.vocabulary import tokenize
from cvtool.errors import BadInputError, UsageError
from cvtool.files import shown


@dataclass(frozen=True)
class Metrics:
    """How good the captions of a set are.

    Attributes:
        images: pictures scored, one caption each.
        bleu1, bleu2, bleu3, bleu4: of the whole set, in [0, 1].
        rouge_l: mean over pictures, in [0, 1].
        cider: CIDEr-D, mean over pictures, in [0, 10].
        mean_length: words per caption.
        distinct_words: different words in all captions together.
        novelty: share of captions that no training caption equals word for word; None where those were not given.
        notes: what a reader of the numbers has to know, a sentence or two each; mostly empty.
        cider_each: CIDEr-D of each picture.
    """

    images: int
    bleu1: float
    bleu2: float
    bleu3: float
    bleu4: float
    rouge_l: float
    cider: float
    mean_length: float
    distinct_words: int
    novelty: float | None
    notes: tuple[str, ...] = ()
    cider_each: Mapping[str, float] = field(default_factory=dict, repr=False)

    def numbers(self) -> dict[str, float]:
        """The numbers by their names, `images` first; without `novelty` where it is not known."""
        names = ("images", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider", "mean_length", "distinct_words")
        numbers = {name: getattr(self, name) for name in names}
        return numbers if self.novelty is None else {**numbers, "novelty": self.novelty}


def score(
    hypotheses: Mapping[str, Sequence[str]],
    references: Mapping[str, Sequence[Sequence[str]]],
    *,
    known: Iterable[Sequence[str]] | None = None,
    cider: CiderD | None = None,
) -> Metrics:
    """All metrics of tokenised captions, one for each picture.

    Args:
        hypotheses: picture → the words of its caption; no words is a caption too, and scores 0.
        references: picture → the words of each of its references. Pictures without a hypothesis are left out, also
            from what decides how much a word weighs in CIDEr-D, as COCO's own evaluation does; a note counts them.
        known: the words of the training captions, for `novelty`.
        cider: CIDEr-D built before, to save building it again for the same references or to take the weights of words
            from a larger set; it must know all pictures of `hypotheses`.

    Raises:
        BadInputError: nothing to score, or a picture without references.
        UsageError: a text where its words are wanted.
    """
    _check(hypotheses, references)
    if cider is None:
        each = cider_d(hypotheses, references)
        pictures_behind_cider = len(each)
    else:
        each = {name: cider.score(name, words) for name, words in hypotheses.items()}
        pictures_behind_cider = len(cider)
    bleu1, bleu2, bleu3, bleu4 = bleu(hypotheses, references)
    return Metrics(
        images=len(hypotheses),
        bleu1=bleu1,
        bleu2=bleu2,
        bleu3=bleu3,
        bleu4=bleu4,
        rouge_l=rouge_l(hypotheses, references),
        cider=sum(each.values()) / len(each),
        mean_length=sum(map(len, hypotheses.values())) / len(hypotheses),
        distinct_words=len({word for words in hypotheses.values() for word in words}),
        novelty=None if known is None else _novelty(hypotheses, known),
        notes=_notes(len(hypotheses), len(references), pictures_behind_cider),
        cider_each=each,
    )


def score_texts(
    hypotheses: Mapping[str, str],
    references: Mapping[str, Iterable[str]],
    *,
    known: Iterable[str] | None = None,
) -> Metrics:
    """`score` for captions as texts; `cvtool.caption.vocabulary.tokenize` makes words of them.

    Raises:
        BadInputError: as for `score`.
    """
    return score(
        {name: tokenize(text) for name, text in hypotheses.items()},
        {name: [tokenize(text) for text in texts] for name, texts in references.items()},
        known=None if known is None else map(tokenize, known),
    )


def _check(hypotheses: Mapping[str, Sequence[str]], references: Mapping[str, Sequence[Sequence[str]]]) -> None:
    if not hypotheses:
        raise BadInputError("There are no captions to score. Give one caption for each picture.")
    for name, words in hypotheses.items():
        if isinstance(words, str):
            raise UsageError(f"The caption of '{shown(name)}' is a text. Give it as a list of words.")
        if not references.get(name):
            raise BadInputError(
                f"The picture '{shown(name)}' has a caption but no reference. Add one, or leave it out."
            )


def _novelty(hypotheses: Mapping[str, Sequence[str]], known: Iterable[Sequence[str]]) -> float:
    seen = {tuple(words) for words in known}
    return sum(tuple(words) not in seen for words in hypotheses.values()) / len(hypotheses)


def _notes(scored: int, referenced: int, behind_cider: int) -> tuple[str, ...]:
    notes = []
    if behind_cider == 1:
        notes.append(
            "CIDEr is 0 for a single picture whatever its caption: a word weighs by how many other pictures lack it. "
            "Score two pictures or more."
        )
    if referenced > scored:
        notes.append(
            f"{referenced - scored} of {referenced} pictures with references have no caption and do not count."
        )
    return tuple(notes)
