"""Runs command lines in this process, with a painter that answers at once where the network does not matter."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import save

from cvtool.cli.main import run
from cvtool.stylize.run import Snapshot


@dataclass(frozen=True)
class Outcome:
    """What one command line did."""

    code: int
    out: str
    err: str


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def cvtool(here: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run ``cvtool`` with these words in the empty folder."""

    def call(*words: object) -> Outcome:
        capfd.readouterr()
        code = run([str(word) for word in words])
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return call


@pytest.fixture
def cat(here: Path) -> Path:
    return save(here / "cat.png")


@pytest.fixture
def wave(here: Path) -> Path:
    return save(here / "wave.png", (20, 40, 180))


@dataclass
class FakePainter:
    """Stands in for the network and the service: gives back the content, darker; remembers what it was asked."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    loads: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    during: Callable[[], None] = lambda: None
    """Called in the middle of the work, e.g. to press Ctrl-C."""

    def snapshot(self) -> Snapshot:
        """A moment of the work, as the service hands it out."""
        return Snapshot({"done": 3}, {"picture": torch.zeros(1, 3, 2, 2)})

    def load(self, name: str, **options: Any) -> SimpleNamespace:
        self.loads.append((name, options))
        return SimpleNamespace(device="cpu")

    def stylize(self, content: Any, styles: Any, model: Any, options: Any, **more: Any) -> SimpleNamespace:
        self.calls.append({"content": content, "styles": styles, "options": options, **more})
        self.during()
        pixels = (content * 0.5).astype(np.float32)
        if more["preview"] is not None:
            for share in (1.0, 0.8, 0.5):
                more["preview"]((content * share).astype(np.float32))
        if more["keep"] is not None:
            more["keep"](self.snapshot())
        height, width = pixels.shape[:2]
        stopped = more["stop"]()
        return SimpleNamespace(
            pixels=pixels,
            steps=5,
            plan=((height // 2, width // 2, 3), (height, width, 2)),
            content_loss=0.25,
            style_loss=0.5,
            tv_loss=float("nan"),
            stopped_by="interrupt" if stopped else "steps",
            options=options,
        )


@pytest.fixture
def painter(monkeypatch: pytest.MonkeyPatch) -> FakePainter:
    """Let ``cvtool stylize`` use a `FakePainter`."""
    fake = FakePainter()
    service, loader = ModuleType("cvtool.stylize.service"), ModuleType("cvtool.models.loader")
    service.stylize = fake.stylize  # type: ignore[attr-defined]
    loader.load = fake.load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cvtool.stylize.service", service)
    monkeypatch.setitem(sys.modules, "cvtool.models.loader", loader)
    return fake
