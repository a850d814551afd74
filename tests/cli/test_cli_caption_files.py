"""``-o`` of ``cvtool caption``: captions go into files of captions, and replace no picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.caption_runs import paint, says

from cvtool.cli.caption_files import write_captions

STRANGE = "b\udce4\tr\n.png"


@pytest.mark.parametrize("command", ["describe", "evaluate"])
@pytest.mark.parametrize("name", ["other.png", "OTHER.JPG", "table.csv", "captions.jsonl.gz"])
def test_no_other_file_is_replaced(cvtool, here: Path, command: str, name: str) -> None:
    paint(here / "red.png", "red")
    Path(name).write_bytes(b"as it was")
    words = {"describe": ["red.png"], "evaluate": ["--references", "a.jsonl", "--hypotheses", "b.jsonl"]}
    done = cvtool("caption", command, *words[command], "-o", name)
    says(done, 2, f"--output '{name}' takes captions. Give FILE.jsonl", "FILE.txt")
    assert ("--attention" in done.err) == name.lower().endswith((".png", ".jpg"))
    assert Path(name).read_bytes() == b"as it was"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["red.png", "blue.png", "--attention", "look.png"], "--attention 'look.png' is one file"),
        (["red.png", "blue.png", "--attention", "-"], "Give --attention a folder"),
        (["red.png", "--attention", "-", "--json"], "Give --attention a file"),
        (["red.png", "--attention", "red.png"], "Choose another --attention"),
        (["red-attention.png", "red.png", "--attention", "."], "Choose another --attention"),
        (["red.png", "--attention", "red.png/look.png"], "Choose another --attention"),
    ],
)
def test_a_bad_place_names_the_option_that_gave_it(cvtool, here: Path, words: list[str], told: str) -> None:
    for name in ("red", "blue", "red-attention"):
        paint(here / f"{name}.png", "red")
    done = cvtool("caption", "describe", *words)
    says(done, 2, told)
    assert "--output" not in done.err


@pytest.mark.parametrize("name", ["new/c.jsonl", "c.json", "c.JSONL", "captions"])
def test_json_lines(here: Path, name: str) -> None:
    write_captions(Path(name), [("a.png", "a dög"), (STRANGE, "a cat")], several=True)
    lines = [json.loads(line) for line in Path(name).read_bytes().decode("ascii").splitlines()]
    assert lines == [{"image": "a.png", "caption": "a dög"}, {"image": STRANGE, "caption": "a cat"}]


def test_plain_lines(here: Path) -> None:
    """As on stdout: what is in a name breaks no line."""
    write_captions(Path("c.txt"), [("a.png", "a dög"), (STRANGE, "a cat")], several=True)
    assert Path("c.txt").read_bytes() == "a.png\ta dög\n".encode() + b"b\xe4\tr\\n.png\ta cat\n"
    write_captions(Path("c.TXT"), [("a.png", "a dog")], several=False)
    assert Path("c.TXT").read_text() == "a dog\n"
