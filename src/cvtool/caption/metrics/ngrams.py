"""Runs of neighbouring words, which BLEU and CIDEr-D count. A word is anything hashable: a string or its number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

LONGEST = 4
"""Both metrics look at runs of one to four words."""

Tokens = Sequence[Hashable]
"""A caption as words or as the words' numbers; plain ints (`list`, not an array), or counting them is slow."""

NGram = tuple[Any, ...]


def ngrams(tokens: Tokens, length: int) -> Counter[NGram]:
    """Runs of `length` words with how often each occurs."""
    return Counter(zip(*(tokens[start:] for start in range(length)), strict=False))
