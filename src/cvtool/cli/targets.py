"""Which class a user means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cvtool.errors import UsageError

if TYPE_CHECKING:
    from cvtool.models.cards import ModelCard


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
