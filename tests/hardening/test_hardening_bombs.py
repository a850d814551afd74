"""What small files make of the memory, measured in processes of their own that may not have more than so much."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.conftest import Outcome
from hardening.conftest import bounded
from hardening.corpus import CASES
from hardening.faults import forked

from cvtool.bundled import CHECKPOINTS, asset_folder, published
from cvtool.cli.main import run
from cvtool.errors import BadInputError

BOMBS = (
    "png of 2³¹ squared",
    "png of 14 000 squared",
    "png with a gigabyte in iTXt",
    "png that inflates to 16 MiB of nothing",
    "tiff of 2³² strips",
    "zip of a bomb of 260 MiB",
    "tar of a gigabyte of zeros, packed",
    "tar of a record of 8 GiB, packed by gzip",
    "tar of a map of holes without end, packed",
    "idx of a packed bomb",
    "weights: a compressed storage of 256 MiB",
    "weights: bytearray(10¹²)",
    "safetensors of a length of 2⁶³",
    "safetensors of 10 000 empty tensors",
    "array of a shape of 2⁴⁰: gan",
    "h5 of 2⁴⁰ pictures",
    "boxes of VOC: laughter",
)
GROWTH = 600 << 20
"""Bytes by which a process may grow that meets one of them: a member of an archive may have 256 MiB."""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how much memory was used")
@pytest.mark.parametrize("name", BOMBS)
def test_memory_stays_bounded(name: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    case = CASES[name]
    case.make()
    notes = here.parent / "notes"

    def work() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with bounded():
            code = run(list(case.words))
        notes.write_text(str((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10))
        return code

    assert forked(work) == case.code, capfd.readouterr().err
    assert int(notes.read_text()) < GROWTH


def test_a_pipe_that_never_ends(cvtool: Callable[..., Outcome], here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As much is read as a picture may have, and no byte more."""
    monkeypatch.setattr("cvtool.files.MAX_INPUT_BYTES", 1 << 20)
    os.mkfifo("endless.png")

    def feed() -> int:
        with open("endless.png", "wb", buffering=0) as pipe:
            while True:
                pipe.write(bytes(1 << 16))

    child = os.fork()
    if child == 0:
        try:
            feed()
        finally:
            os._exit(0)
    done = cvtool("info", "endless.png")
    os.kill(child, signal.SIGKILL)  # were it still to open the pipe, it would wait for ever
    os.waitpid(child, 0)
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "is larger than" in done.err


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_bundled_checkpoints_are_those_that_were_published(
    name: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = asset_folder() / name
    if not path.exists():
        pytest.skip(f"not bundled here: {name}")
    assert published(path) == path
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    other = here / name
    other.write_bytes(data)
    with pytest.raises(BadInputError, match=f"{name}' is not the published file"):
        published(other)


ASKING = [
    ("captioner.safetensors", "caption describe good.png"),
    ("generator.safetensors", "gan sample -n 1 -o out.png"),
    ("painter.safetensors", "stylize good.png good.png --instant -o out.png"),
]


@pytest.mark.parametrize(("name", "line"), ASKING)
def test_commands_say_what_an_install_lacks(
    name: str, line: str, cvtool: Callable[..., Outcome], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hardening.materials import write_good

    write_good()
    monkeypatch.setattr("cvtool.bundled.asset_folder", lambda: here)
    done = cvtool(*line.split())
    assert (done.code, done.out, done.err.count("\n")) == (4, "", 1)
    assert f"this install has no {name.partition('.')[0]}" in done.err
    assert " train" in done.err


@pytest.mark.parametrize(("name", "line"), ASKING)
def test_commands_refuse_another_bundled_checkpoint(
    name: str, line: str, cvtool: Callable[..., Outcome], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hardening.materials import write_good

    if not (asset_folder() / name).exists():
        pytest.skip(f"not bundled here: {name}")
    write_good()
    monkeypatch.setitem(CHECKPOINTS, name, "0" * 64)
    done = cvtool(*line.split())
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1)
    assert "is not the published file" in done.err


def test_weights_of_another_network_say_what_differs(cvtool: Callable[..., Outcome], here: Path) -> None:
    import torch
    from hardening.materials import write_good
    from safetensors.torch import save_file

    write_good()
    save_file({"conv_stem.weight": torch.zeros(9), **{f"x{n}": torch.zeros(1) for n in range(9)}}, "w.safetensors")
    done = cvtool("saliency", "good.png", "--weights", "w.safetensors")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "does not fit 'efficientnet-lite0'" in done.err
    assert "is missing" in done.err
    assert "differences" in done.err
