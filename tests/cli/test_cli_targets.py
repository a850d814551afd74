"""Which class a user means, of networks with other classes than ImageNet's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cvtool.cli.targets import class_index
from cvtool.errors import UsageError
from cvtool.models.cards import CARDS, DEFAULT_MODEL

TEN = replace(CARDS[DEFAULT_MODEL], classes=10)


def test_by_number() -> None:
    assert [class_index(text, TEN) for text in ("0", " 9 ", None)] == [0, 9, None]


@pytest.mark.parametrize("text", ["10", "-1", "1.0", "tabby", "", "²", "٣"])
def test_by_nothing_else(text: str) -> None:
    with pytest.raises(UsageError, match="10 classes by number only, 0 to 9"):
        class_index(text, TEN)
