"""``--files-from`` and ``--skip-existing``: batches of any length."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tracemalloc
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import pytest
from helpers import save

from cvtool.cli import input_lists
from cvtool.cli.batch import for_each
from cvtool.cli.console import Console
from cvtool.cli.input_lists import LONGEST_NAME, ListedInputs, inputs_of, names_in
from cvtool.cli.inputs import FilesRead, Input, expand, refuse_second_stdin
from cvtool.cli.outputs import ResultNames, plan_outputs
from cvtool.errors import BadInputError, UsageError
from cvtool.provenance import Provenance, read_provenance

FLAT = 2_500_000
"""Bytes at the highest: blocks that are read at a time, and 8 to 16 a name. 10,000 objects would take 10 million."""
T = TypeVar("T")


def listed(data: bytes, *, null: bool = False) -> list[str]:
    Path("list").write_bytes(data)
    return list(names_in("list", null=null))


@pytest.mark.parametrize(
    ("data", "null", "names"),
    [
        (b"a.png\nb c.png\n", False, ["a.png", "b c.png"]),
        (b"\n\na.png\n\nb.png", False, ["a.png", "b.png"]),
        (b"a.png\r\n\r\nb.png\r\n", False, ["a.png", "b.png"]),
        (b"a\nb.png\0 c.png \0\0d\r", True, ["a\nb.png", " c.png ", "d\r"]),
        (b"\xff\xfe.png\n", False, ["\udcff\udcfe.png"]),
    ],
)
def test_names_of_a_list(here: Path, data: bytes, null: bool, names: list[str]) -> None:
    assert listed(data, null=null) == names


def test_names_across_the_parts_that_are_read(here: Path) -> None:
    names = [f"{'x' * (number % 211)}{number}.png" for number in range(3000)]
    assert listed("\n".join(names).encode()) == names


def test_what_is_no_list(here: Path) -> None:
    with pytest.raises(UsageError, match=r"NUL bytes.*--null"):
        listed(b"a.png\0b.png\0")
    with pytest.raises(BadInputError, match="no list of names"):
        listed(b"x" * 4 * LONGEST_NAME)
    Path("empty").write_bytes(b"\n\n")
    with pytest.raises(BadInputError, match="'empty' names no file"):
        inputs_of([], "empty", null=False)
    with pytest.raises(BadInputError, match=r"'gone'.*no such file"):
        inputs_of(["a.png"], "gone", null=False)
    with pytest.raises(UsageError, match="--null"):
        inputs_of(["a.png"], None, null=True)


def test_a_list_gives_what_arguments_give(here: Path) -> None:
    for name in ("pics/b.png", "pics/a.jpg", "pics/deep/c.png", "x[1].png", "odd\udcff.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("empty").mkdir()
    words = ["gone.png", "pics", "pics/*.png", "x[1].png", "none*.png", "empty", "asset:cat", "-", "odd\udcff.png"]
    Path("list").write_bytes(b"\n".join(map(os.fsencode, words[1:])))
    for recursive in (False, True):
        wanted = expand(words, recursive=recursive)
        found = inputs_of(words[:1], "list", null=False, recursive=recursive)
        assert isinstance(found, ListedInputs)
        assert list(found) == [found[number] for number in range(len(found))] == wanted
        assert (found[-1], found[2:4]) == (wanted[-1], wanted[2:4])


def test_stdin_is_the_list_or_a_picture(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"a.png\n-\n"), isatty=lambda: False))
    with pytest.raises(UsageError, match="'--files-from -' reads a list"):
        refuse_second_stdin(inputs_of([], "-", null=False), "-")


def test_a_hundred_thousand_missing_files_take_little_memory(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the last tenth, since tracing takes its time: what grows would grow there, too."""
    count, traced_from = 100_000, 90_000

    def traced(names: Iterable[T]) -> Iterator[T]:
        for number, name in enumerate(names):
            if number == traced_from:
                tracemalloc.start()
            yield name

    def peak() -> int:
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    class Told(Console):
        def error(self, text: str) -> None:
            told.append(len(text))

    def work(given: Input) -> None:
        if given.name.endswith(f"{traced_from:06d}.jpg"):
            tracemalloc.start()
        raise BadInputError(f"'{given.name}' is missing")

    told = array("L")
    monkeypatch.setattr(input_lists, "names_in", lambda *words, **more: traced(names_in(*words, **more)))
    with open("list", "w") as file:
        file.writelines(f"photos/of/somebody/IMG_{number:06d}.jpg\n" for number in range(count))
    inputs = inputs_of([], "list", null=False)
    assert peak() < FLAT
    with pytest.raises(BadInputError, match=rf"{count} of {count} .*IMG_000000.*IMG_000009\.jpg, …"):
        for_each(inputs, work, command="test", console=Told(json=False))
    assert peak() < FLAT
    assert len(told) == count


def test_results_that_are_planned_take_little_memory(here: Path) -> None:
    inputs = ListedInputs(Input(f"photos/{number}.png", Path(f"photos/{number}.png")) for number in range(5000))
    names = ResultNames(inputs, "saliency", ["a", "b"])
    tracemalloc.start()
    try:
        results = plan_outputs(names, output="out", format=None, inputs=FilesRead(inputs), json=False)
        assert tracemalloc.get_traced_memory()[1] < FLAT
    finally:
        tracemalloc.stop()
    assert [str(each.path) for each in results[2:4]] == ["out/1-saliency-a.png", "out/1-saliency-b.png"]
    assert list(results) == [results[number] for number in range(10_000)]


def test_names_that_come_again_by_the_thousand(here: Path) -> None:
    names = ["a"] * 3000 + ["a-7", "A"]
    found = [each.name for each in plan_outputs(names, output="out", format=None, inputs=[], json=True)]
    wanted = ["a", *(f"a-{number}" for number in range(2, 3002) if number != 7), "a-7", "A-3002"]
    assert found == [f"out/{name}.png" for name in wanted]


def test_no_input_of_a_list_is_overwritten(here: Path) -> None:
    Path("out").mkdir()
    for name in ("cat.png", "out/cat-saliency.png"):
        save(name)
    os.symlink("out/cat-saliency.png", "elsewhere.png")
    Path("list").write_text("cat.png\nelsewhere.png\n")
    inputs = inputs_of([], "list", null=False)
    with pytest.raises(UsageError, match=r"'out/cat-saliency\.png' is an input"):
        plan_outputs(ResultNames(inputs, "saliency"), output="out", format=None, inputs=FilesRead(inputs), json=False)


def test_find_print0_a_broken_picture_and_odd_names(cvtool, painter, wave: Path, here: Path) -> None:
    names = ["photos/plain.png", "photos/two\nlines.png", "photos/odd\udcff.png"]
    Path("photos").mkdir()
    for name in names:
        save(name)
    Path("photos/broken.png").write_bytes(b"no picture")
    found = subprocess.run(["find", "photos", "-type", "f", "-print0"], stdout=subprocess.PIPE, check=True)
    Path("list").write_bytes(found.stdout)
    done = cvtool("stylize", "--files-from", "list", "-0", "--style", "wave.png", "-o", "out", "--json")
    assert done.code == 3
    records = [json.loads(line) for line in done.out.splitlines()]
    assert {each["input"] for each in records if "error" not in each} == set(names)
    assert [each["input"] for each in records if "error" in each] == ["photos/broken.png"]
    assert "1 of 4 inputs could not be done: photos/broken.png" in done.err
    written = {"plain-stylize.png", "two\nlines-stylize.png", "odd\udcff-stylize.png"}
    assert set(os.listdir("out")) == written
    line = read_provenance("out/plain-stylize.png").command_line
    assert line.endswith("photos/plain.png")
    assert "--files-from" not in line
    assert "--null" not in line

    again = cvtool("stylize", "--files-from", "list", "-0", "--style", "wave.png", "-o", "out", "--skip-existing")
    assert again.code == 3
    assert "left out, since their results are there already: 3\n" in again.err
    Path("photos/broken.png").unlink()
    Path("out/plain-stylize.png").unlink()
    before = len(painter.calls)
    Path("list").write_bytes(found.stdout.replace(b"photos/broken.png\0", b""))
    last = cvtool(
        "stylize", "--files-from", "list", "-0", "--style", "wave.png", "-o", "out", "--skip-existing", "--json"
    )
    assert (last.code, len(painter.calls) - before) == (0, 1)
    assert json.loads(last.out)["output"] == "out/plain-stylize.png"
    assert "are there already: 2\n" in last.err


def test_one_name_in_a_list_goes_to_a_folder_as_several_would(cvtool, painter, cat: Path, wave: Path) -> None:
    Path("list").write_text("cat.png\n")
    assert cvtool("stylize", "--files-from", "list", "--style", "wave.png", "-o", "out").code == 0
    assert os.listdir("out") == ["cat-stylize.png"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["stylize", "cat.png", "wave.png", "--files-from", "list"], 2, "--style FILE"),
        (["stylize", "--style", "wave.png", "--files-from", "list", "--sheet", "s.png"], 2, "--files-from does not go"),
        (["stylize", "cat.png", "wave.png", "-0"], 2, "--null is for --files-from"),
        (["saliency", "--files-from", "gone"], 3, "'gone'"),
        (["saliency"], 2, "--files-from"),
        (["saliency", "cat.png", "--skip-existing", "--raw", "maps.h5"], 2, "--skip-existing leaves some out"),
        (["fool", "--from-noise", "--target", "1", "--files-from", "list"], 2, "--from-noise and none"),
        (["caption", "describe", "--files-from", "list", "-o", "list"], 2, "'list' is an input"),
        (["info", "-0", "cat.png"], 2, "--null"),
    ],
)
def test_refused_in_one_line(cvtool, cat: Path, wave: Path, words: list[str], code: int, said: str) -> None:
    Path("list").write_text("cat.png\n")
    done = cvtool(*words)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert said in done.err


def test_info_of_a_list_from_a_pipe(here: Path) -> None:
    note = Provenance("test", "1", "cvtool test", {}, (), None, None, None).to_json()
    from cvtool.images import encode_picture, read_picture

    data = encode_picture(read_picture(save("cat.png")).pixels, "png", note=note)
    for name in ("one.png", "odd\udcff.png"):
        Path(name).write_bytes(data)
    done = subprocess.run(
        [
            "sh",
            "-c",
            'find . -name "o*.png" -print0 | "$0" -m cvtool info --files-from - --null gone.png',
            sys.executable,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "1 of 3 inputs could not be done: gone.png" in done.stderr
    assert done.stdout.count("again") == 2
    assert "./one.png:\n" in done.stdout
    assert "./odd\\udcff.png:\n" in done.stdout
