"""The examples of docs/library.md are run one after the other, on a smaller cat and with fewer steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fences import blocks
from PIL import Image

from cvtool.images import resize

PAGE = Path(__file__).resolve().parents[2] / "docs" / "library.md"
EXAMPLES = blocks(PAGE, "python")
SMALLER = {
    "size=256, strength=60": "size=64, steps=(2,), strength=60",
    "norm=Norm.linf, eps=8 / 255": "norm=Norm.linf, eps=8 / 255, steps=3",
    "steps=100, size=192": "steps=2, size=64",
    "size=192)": "size=64)",
    "time.monotonic() + 2": "time.monotonic()",
}
"""What the page asks for → what is done here, so that it takes seconds."""


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What all examples work on: the first one's names, in a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("library"))
        found: dict[str, Any] = {}
        exec(compile(EXAMPLES[0], str(PAGE), "exec"), found)
        found["cat"] = resize(found["cat"], 60, 90)
        yield found


@pytest.mark.parametrize("number", range(1, len(EXAMPLES)))
def test_the_example_runs(number: int, names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    text = EXAMPLES[number]
    for asked, done in SMALLER.items():
        text = text.replace(asked, done)
    exec(compile(text, f"{PAGE} example {number}", "exec"), names)
    assert capsys.readouterr().out.strip() or "print(" not in text


def test_what_is_made_smaller_is_on_the_page() -> None:
    everything = "".join(EXAMPLES)
    assert all(asked in everything for asked in SMALLER)


def test_it_wrote_pictures(names: dict[str, Any]) -> None:
    assert names["painted"].stopped_by == "interrupt"
    for name in ("painted", "saliency", "fooled", "flamingo", "bag"):
        with Image.open(f"{name}.png") as picture:
            assert picture.mode == "RGB"
