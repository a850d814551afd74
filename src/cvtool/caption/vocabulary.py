"""From a caption to tokens, and from tokens to the numbers a network works with. No torch."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cvtool.errors import BadInputError, UsageError
from cvtool.files import shown

NULL, START, END, UNKNOWN = 0, 1, 2, 3
"""Padding, the first and the last token of every caption, and any word that is not in the vocabulary."""

SPECIALS = ("<NULL>", "<START>", "<END>", "<UNK>")
"""The words of these four numbers; CS231n's order."""

_PLAIN = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "\u00ad": None, "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
)
_ABBREVIATIONS = (
    "mr|mrs|ms|messrs|mme|dr|prof|st|jr|sr|esq|hon|rev|gov|sen|rep|pres|sgt|capt|lt|col|maj|pvt|gen|adm|cpl|cmdr|supt|"
    "insp|det|atty|vs|etc|est|al|co|inc|corp|ltd|bros|dept|univ|assn|natl|intl|ave|blvd|rd|mt|ft|sq|bldg|tel|ext|"
    "jan|feb|mar|apr|aug|sept|oct|nov|dec|mon|tues|wed|thurs|fri"
)
_TOKEN = re.compile(
    rf"""
      (?:https?://|www\.)\S*\w/?                                   # an address in the web
    | (?:{_ABBREVIATIONS})\.(?!\w)                                # st.
    | (?:no|fig|art|pp|ca)\.(?=\s*\d)                             # no. 5
    | (?:[a-z]\.)+(?![\w&'])                                      # u.s. and the p. of an initial
    | \d*'\d+s\b | '(?:n'|em\b|til\b)                             # the '90s, rock 'n' roll, 'em
    | '(?=t(?:is|was)\b)t | (?<='t)(?:is|was)\b                    # 't is
    | n't\b | '(?:s|m|d|re|ve|ll)\b                               # what is behind a contracted word
    | can(?=not\b) | gon(?=na\b) | got(?=ta\b) | wan(?=na\b) | gim(?=me\b) | lem(?=me\b)
    | [-+]?\d+(?:[.,:/]\d+)+(?!\w)                               # 3.5, 1,000, 10:30, 1/2
    | [@\#][a-z_][\w]*                                           # @name
    | [^\W_]+?(?=n't\b)                                          # is of isn't
    | [^\W_]+(?:(?:[-/.@_]|'(?!(?:s|m|d|re|ve|ll)\b|n'))[^\W_]+)* # t-shirt, and/or, o'clock
    | [&$%\#@+=£€¥¢°]
    """,
    re.VERBOSE,
)
"""Tokens from left to right; characters that begin none of them, which is punctuation, are passed over."""


def tokenize(text: str) -> list[str]:
    """A caption → its words in lower case, split as the Penn Treebank does, without punctuation.

    The rules are those of Stanford's PTBTokenizer, by which captioning is measured: contractions are split (``do n't``,
    ``dog 's``, ``can not``), words with hyphens and slashes and numbers stay whole, common abbreviations keep their
    full stop. Differs from it where that serves words better: brackets and runs like ``!!!`` go as all punctuation
    does, signs that name nothing (``*``, ``~``, ``|``) too, and the pound sign stays itself.
    """
    return _TOKEN.findall(unicodedata.normalize("NFC", text.translate(_PLAIN)).lower())


@dataclass(frozen=True)
class Vocabulary:
    """The words a network knows; a word's number is its place.

    Attributes:
        words: the four specials first, then words by falling frequency (ties alphabetically).

    Raises:
        BadInputError: the specials are not in their places, or a word is there twice.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.words[: len(SPECIALS)] != SPECIALS:
            first = shown(", ".join(map(str, self.words[: len(SPECIALS)])))
            raise BadInputError(f"A vocabulary starts with {', '.join(SPECIALS)}; this one starts with '{first}'.")
        if len(self._numbers) != len(self.words):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise BadInputError(f"The word '{shown(twice)}' is in the vocabulary twice. Build it again.")

    @classmethod
    def build(cls, captions: Iterable[Sequence[str]], threshold: int) -> Vocabulary:
        """The vocabulary of tokenised captions: words that occur at least `threshold` times.

        Raises:
            UsageError: `threshold` below 1.
        """
        if threshold < 1:
            raise UsageError(f"A vocabulary threshold of {threshold} makes no sense. Ask for at least 1.")
        counts = Counter(word for caption in captions for word in caption)
        kept = [word for word, count in counts.items() if count >= threshold and word not in SPECIALS]
        return cls((*SPECIALS, *sorted(kept, key=lambda word: (-counts[word], word))))

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, tokens: Sequence[str], longest: int) -> NDArray[np.int64]:
        """Tokens → (n + 2,) int64: START, the first n ≤ `longest` words, END; words outside become UNKNOWN."""
        numbers = [self._numbers.get(word, UNKNOWN) for word in tokens[:longest]]
        return np.array([START, *numbers, END], dtype=np.int64)

    def decode(self, indices: Iterable[int]) -> str:
        """Numbers → a caption: words with spaces between up to the first END; NULL and START are left out.

        Raises:
            UsageError: a number that no word has.
        """
        words = []
        for index in map(int, indices):
            if index == END:
                break
            if not 0 <= index < len(self.words):
                raise UsageError(f"No word {index}: this vocabulary has {len(self.words)}, counted from 0.")
            if index not in (NULL, START):
                words.append(self.words[index])
        return " ".join(words)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}
