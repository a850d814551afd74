"""The thousand classes of ImageNet: numbers, names, synonyms and WordNet ids, and how to find one. No torch."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache

from cvtool.errors import CvtoolError, UnknownNameError, UsageError
from cvtool.models.packages import data_file

_FOLDER = "timm/data/_info"
_HINT = "'cvtool classes TEXT' searches them."
_MOST_NAMES = 6  # in a message
_LONGEST = 40  # characters of a number that is said again


@dataclass(frozen=True)
class ImageNetClass:
    """One class.

    Attributes:
        index: 0 to 999, the position of its logit.
        wnid: WordNet id, e.g. ``"n02123045"``.
        name: its first name, e.g. ``"tabby"``.
        synonyms: all its names, `name` first.
        definition: what WordNet says it is; two classes of one name differ here.
    """

    index: int
    wnid: str
    name: str
    synonyms: tuple[str, ...]
    definition: str


@cache
def classes() -> tuple[ImageNetClass, ...]:
    """All classes in the order of the logits.

    Raises:
        CvtoolError: timm, whose data files name the classes, is not installed.
    """
    wnids = _lines("imagenet_synsets.txt")
    names = _table("imagenet_synset_to_lemma.txt")
    definitions = _table("imagenet_synset_to_definition.txt")
    found = []
    for index, wnid in enumerate(wnids):
        synonyms = tuple(names[wnid].split(", "))
        found.append(ImageNetClass(index, wnid, synonyms[0], synonyms, definitions.get(wnid, "")))
    return tuple(found)


def _lines(file: str) -> list[str]:
    path = data_file(f"{_FOLDER}/{file}")
    if path is None:
        raise CvtoolError(f"The class names are missing: no {_FOLDER}/{file}. Run: pip install timm")
    return path.read_text(encoding="utf-8").splitlines()


def _table(file: str) -> dict[str, str]:
    return {key: value for key, _, value in (line.partition("\t") for line in _lines(file))}


def class_number(text: str, count: int) -> int | None:
    """The number below `count` that decimal digits say, or None; Python itself refuses to read thousands of digits."""
    digits = text.strip().lstrip("0") or text.strip()[-1:]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= len(str(count))):
        return None
    return int(digits) if int(digits) < count else None


def find_class(text: str) -> ImageNetClass:
    """The class meant by an index (``"281"``), a WordNet id (``"n02123045"``), a name or a synonym.

    Case, spaces, ``_`` and ``-`` are alike. A first name goes before another class's synonym: ``"harp"`` is 594, the
    instrument with strings, although 593, the harmonica, is called a harp too.

    Raises:
        UnknownNameError: no such class; the nearest names are in the message.
        UsageError: the name fits several classes; they are listed.
    """
    wanted = folded(text)
    if is_number(text):
        return classes()[_index(text)]
    first, any_name = _by_name()
    fitting = first.get(wanted) or any_name.get(wanted, [])
    fitting = fitting or [item for item in classes() if item.wnid == wanted]
    if not fitting:
        raise _unknown(text.strip())
    if len(fitting) > 1:
        options = "; ".join(f"{item.index} ({item.wnid}: {_shorten(item.definition)})" for item in fitting)
        raise UsageError(f"'{text.strip()}' names {len(fitting)} classes: {options}. Give the index or the WordNet id.")
    return fitting[0]


def is_number(text: str) -> bool:
    """Whether a whole number is meant, also one that is no index, such as -1: no name is a number."""
    wanted = folded(text)
    return wanted.isascii() and wanted.isdigit()


def _index(text: str) -> int:
    index = class_number(text, len(classes()))  # of the text itself: folding takes the sign from -1
    if index is None:
        hint = f"The indices go from 0 to {len(classes()) - 1}."
        raise UnknownNameError("class", text.strip()[:_LONGEST], (), hint)
    return index


def _unknown(text: str) -> UnknownNameError:
    """The error for a name that no class has; names that hold it as words say more than such that are spelled alike."""
    wanted = folded(text)
    names = [name for item in classes() for name in item.synonyms if _has_words(name, wanted)]
    if not names:
        return UnknownNameError("class", text, [name for item in classes() for name in item.synonyms], _HINT)
    shown = ", ".join(names[:_MOST_NAMES]) + (f" and {len(names) - _MOST_NAMES} more" * (len(names) > _MOST_NAMES))
    return UnknownNameError("class", text, (), f"Names with that word: {shown}. {_HINT}")


def search(text: str) -> list[ImageNetClass]:
    """Classes whose index, WordNet id or names contain `text`: exact names first, then words, then parts of words.

    Raises:
        UnknownNameError: it is a number, but no index.
    """
    if is_number(text):
        return [classes()[_index(text)]]
    wanted = folded(text)
    ranked = [(_rank(item, wanted), item.index, item) for item in classes()]
    return [item for rank, _, item in sorted(ranked, key=lambda entry: entry[:2]) if rank < _NO_MATCH]


_NO_MATCH = 3


def _rank(item: ImageNetClass, wanted: str) -> int:
    names = [folded(name) for name in item.synonyms]
    if wanted in names or wanted == item.wnid:
        return 0
    if any(_has_words(name, wanted) for name in names):
        return 1
    return 2 if any(wanted in name for name in names) else _NO_MATCH


def _has_words(name: str, wanted: str) -> bool:
    """Whether a name holds folded text as whole words."""
    return bool(wanted) and re.search(rf"\b{re.escape(wanted)}\b", folded(name)) is not None


_Names = dict[str, list[ImageNetClass]]


@cache
def _by_name() -> tuple[_Names, _Names]:
    """(classes by folded first name, classes by any folded name)."""
    first: _Names = defaultdict(list)
    any_name: _Names = defaultdict(list)
    for item in classes():
        first[folded(item.name)].append(item)
        for name in {folded(name) for name in item.synonyms}:
            any_name[name].append(item)
    return dict(first), dict(any_name)


def folded(text: str) -> str:
    """A name of a class without what people write in several ways: case, and blanks, ``_`` and ``-`` between words."""
    return re.sub(r"[\s_-]+", " ", text).strip().casefold()


def _shorten(text: str, length: int = 48) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
