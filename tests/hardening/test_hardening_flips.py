"""Any bytes of any input flipped: a result or one line, never a traceback, a crash or a file of anybody else's."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from cli.conftest import Outcome
from hardening.checkpoints import RECORDS, small
from hardening.clips_and_runs import clip
from hardening.materials import FORMATS, picture, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
CODES = (0, 2, 3)
"""A flipped byte may not matter; may ask for what is not known (an option); mostly the file is broken."""

INPUTS: dict[str, tuple[str, str]] = {
    **{kind: (suffix, "info BAD") for kind, suffix in FORMATS.items()},
    "mp4": ("mp4", "info BAD"),
    "gif of frames": ("gif", "info BAD"),
    "pth": ("pth", "saliency good.png --weights BAD"),
    "gan": ("safetensors", "gan sample --checkpoint BAD -n 1 -o out.png"),
    "painter": ("safetensors", "info BAD"),
    "style": ("safetensors", "info BAD"),
}
"""Kinds of inputs: their suffixes, and who reads them."""


@cache
def whole(kind: str) -> bytes:
    """The bytes of a whole one."""
    if kind in FORMATS:
        return picture(kind)
    if kind in ("mp4", "gif of frames"):
        return clip(kind.split()[0])
    if kind == "pth":
        return small()
    path = Path("whole.safetensors")
    RECORDS[kind][0](path)
    data = path.read_bytes()
    path.unlink()
    return data


@pytest.mark.parametrize("kind", INPUTS)
def test_flipped_bytes(kind: str, cvtool: Callable[..., Outcome], here: Path) -> None:
    suffix, line = INPUTS[kind]
    data = whole(kind)
    write("good.png", picture())

    @EXAMPLES
    @given(
        places=st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=6),
        change=st.integers(1, 255),
        head=st.booleans(),
    )
    def flip(places: list[int], change: int, head: bool) -> None:
        flipped = bytearray(data)
        for place in places:
            flipped[place % 64 if head else place] ^= change
        bad = write(f"bad.{suffix}", bytes(flipped))
        before = {"good.png": picture(), bad.name: bytes(flipped)}
        done = cvtool(*line.replace("BAD", bad.name).split())
        assert done.code in CODES, done.err
        assert "Traceback" not in done.err
        if done.code:
            assert done.err.startswith("cvtool: error: ")
            assert done.err.count("\n") == 1
        Path("out.png").unlink(missing_ok=True)
        assert {each.name: each.read_bytes() for each in here.iterdir()} == before

    flip()
