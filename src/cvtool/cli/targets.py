"""Which class a user means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cvtool.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cvtool.models.cards import ModelCard


def check_classes(texts: Iterable[str | None], model_name: str) -> None:
    """Of a classifier that comes with the install: refuse at once, without torch, what `class_index` would refuse.

    Raises:
        UsageError: unknown or ambiguous.
    """
    from cvtool.models.cards import CARDS

    card = CARDS.get(model_name)
    if card is not None and card.classes:
        for text in texts:
            class_index(text, card)


def class_index(text: str | None, card: ModelCard) -> int | None:
    """The index of a class: of ImageNet's by any name, of another network's by its number; None stays None.

    Raises:
        UsageError: unknown or ambiguous.
    """
    if text is None:
        return None
    from cvtool.models.imagenet import class_number, find_class

    if card.classes == 1000:
        return find_class(text).index
    index = class_number(text, card.classes)
    if index is None:
        raise UsageError(f"'{card.name}' knows its {card.classes} classes by number only, 0 to {card.classes - 1}.")
    return index
