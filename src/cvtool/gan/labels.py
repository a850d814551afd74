"""Classes that a generator knows, by the names people give them. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cvtool.errors import UnknownNameError, UsageError
from cvtool.models.imagenet import class_number, folded


def label_number(text: str, classes: Sequence[str]) -> int:
    """The number of a class given by its name (case, blanks, ``_`` and ``-`` alike) or by its number.

    Raises:
        UnknownNameError: no such class; the nearest are named.
        UsageError: several have that name.
    """
    wanted = folded(text)
    found = [number for number, name in enumerate(classes) if text == name] or [
        number for number, name in enumerate(classes) if wanted == folded(name)
    ]
    if len(found) > 1:
        raise UsageError(f"'{text}' names several classes: give one of their numbers, {', '.join(map(str, found))}.")
    if found:
        return found[0]
    number = class_number(text, len(classes))  # of the text itself: folding takes the sign from -1
    if number is not None:
        return number
    hint = f"There are {len(classes)}: {', '.join(classes[:20])}{', …' if len(classes) > 20 else '.'}"
    raise UnknownNameError("class", text, classes, hint)


def label_numbers(texts: Iterable[str], classes: Sequence[str]) -> tuple[int, ...]:
    """Numbers of the classes named, each by itself or with commas between.

    Raises:
        UsageError: the generator knows no classes, or not this one.
    """
    found: list[int] = []
    for text in texts:
        if not classes:
            raise UsageError(f"This generator knows no classes, so not '{text}' either. Leave out --label.")
        whole = folded(text) in map(folded, classes)  # a name may have a comma inside
        parts = [text] if whole else text.split(",")
        found += [label_number(part.strip(), classes) for part in parts]
    return tuple(found)


def in_turn(numbers: Sequence[int], count: int) -> tuple[int, ...]:
    """`count` labels: these, from the beginning again where they end."""
    return tuple(numbers[place % len(numbers)] for place in range(count))
