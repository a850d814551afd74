"""Where results go, and what is refused before any work."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from cvtool.cli.options import Format
from cvtool.cli.outputs import Destination, check_writable, class_part, plan_outputs, result_name
from cvtool.cli.protected import place_of, refuse_inside
from cvtool.errors import UsageError
from cvtool.images import FORMATS


def plan(names: list[str], output: str | None = None, **more: Any) -> list[str]:
    options = {"format": None, "inputs": [], "json": False, **more}
    return [str(d.path) for d in plan_outputs(names, output=output, **options)]


def test_the_formats_offered_are_those_that_can_be_written() -> None:
    assert [member.value for member in Format] == list(FORMATS)


def test_result_names() -> None:
    assert result_name("cat", "stylize") == "cat-stylize"
    assert result_name("cat", "saliency", "grad-cam") == "cat-saliency-grad-cam"
    assert [class_part(name, "class") for name in ("Tabby, cat", "ÉTÉ_3", "/..")] == ["tabby-cat", "été-3", "class"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("names", "output", "format", "expected"),
    [
        (["a-x"], None, None, ["a-x.png"]),
        (["a-x", "b-x"], None, Format.jpg, ["a-x.jpg", "b-x.jpg"]),
        (["a-x"], "out.webp", None, ["out.webp"]),
        (["a-x"], "OUT.JPEG", None, ["OUT.JPEG"]),
        (["a-x"], "out", Format.tiff, ["out"]),
        (["a-x"], "new/", None, ["new/a-x.png"]),
        (["a-x", "b-x"], "new", None, ["new/a-x.png", "new/b-x.png"]),
        (["a-x"], "there", None, ["there/a-x.png"]),
        (["a-x", "a-x", "a-x"], None, None, ["a-x.png", "a-x-2.png", "a-x-3.png"]),
        (["a", "a", "a-2"], None, None, ["a.png", "a-3.png", "a-2.png"]),
        (["a", "A"], None, None, ["a.png", "A-2.png"]),
    ],
)
def test_places(here: Path, names: list[str], output: str | None, format: Format | None, expected: list[str]) -> None:
    (here / "there").mkdir()
    assert plan(names, output, format=format) == expected


@pytest.mark.usefixtures("here")
def test_one_picture_of_a_folder_goes_to_a_folder_as_several_would() -> None:
    assert plan(["a-x"], "out", collected=True) == ["out/a-x.png"]
    assert plan(["a-x"], "out.png", collected=True) == ["out.png"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("output", "format", "expected"),
    [
        ("a.jpg", None, Format.jpg),
        ("a.jpeg", None, Format.jpg),
        ("a.tif", None, Format.tiff),
        ("a.jpg", Format.png, Format.png),
        (None, None, Format.png),
        (None, Format.webp, Format.webp),
        ("new/", Format.webp, Format.webp),
    ],
)
def test_formats(output: str | None, format: Format | None, expected: Format) -> None:
    (destination,) = plan_outputs(["x"], output=output, format=format, inputs=[], json=False)
    assert destination.format is expected


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("names", "output", "json", "message"),
    [
        (["a"], "out.bmp", False, r"suffix '\.bmp'.*\.png"),
        (["a"], "out", False, r"no suffix.*\.png"),
        (["a", "b"], "out.png", False, "2 results.*folder"),
        (["a", "b"], "-", False, "2 results.*folder"),
        (["a"], "-", True, "--json"),
        (["a"], "file.txt/out.png", False, "not a folder"),
        (["a"], "x" * 300 + ".png", False, "too long"),
    ],
)
def test_refused(here: Path, names: list[str], output: str, json: bool, message: str) -> None:
    (here / "file.txt").touch()
    with pytest.raises(UsageError, match=message):
        plan(names, output, json=json)


def test_files_of_a_data_set_stay_and_results_beside_them_may_be_written_again(here: Path) -> None:
    for name in ("set/a.png", "set/page.html", "other.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"x")
    check_writable(Path("set/page.html"), [Path("set")], "--page")
    check_writable(Path("set/new.png"), [Path("set")], "--nearest")
    check_writable(Path("other.png"), [Path("set")], "--nearest")
    with pytest.raises(UsageError, match="would be overwritten"):
        check_writable(Path("set/a.png"), [Path("set")], "--nearest")


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ("folder:set", "set"), ("set", "set"), ("h5:set.h5#pictures", "set.h5"), ("set.h5#pictures", "set.h5"),
        ("fashion-mnist", "fashion-mnist"), ("odd:name", "odd:name"), ("zip:a#1.zip", "a#1.zip"),
    ],
)  # fmt: skip
def test_where_a_data_set_lies(here: Path, spec: str, place: str) -> None:
    for name in ("set.h5", "odd:name", "a#1.zip"):
        Path(name).write_bytes(b"")
    assert place_of(spec) == Path(place)


def test_what_lies_in_a_run_that_starts_again(here: Path) -> None:
    for name in ("run/best.safetensors", "run/samples/a.png", "other/a.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")
    for name, target in (("soft", "run/best.safetensors"), ("again", "run"), ("run/link.png", "../other/a.png")):
        os.symlink(target, name)
    inside = (
        "run/best.safetensors",
        "run/samples",
        "soft",
        "again/samples",
        "run/link.png",
        "../here/run/samples/a.png",
    )
    for folder in ("run", "again", str(here / "run")):
        for place in inside:
            with pytest.raises(UsageError, match="where --overwrite removes the old run"):
                refuse_inside(Path(folder), [None, Path("other"), Path(place)])
        refuse_inside(Path(folder), [Path("other/a.png"), Path("run/absent"), Path("run/.."), here])
    refuse_inside(Path("absent"), [Path("run")])


def test_an_input_is_never_overwritten(here: Path, cat: Path) -> None:
    for output in ("cat.png", str(cat), "../here/cat.png"):
        with pytest.raises(UsageError, match=r"cat\.png' is an input"):
            plan(["x"], output, inputs=[cat])
    os.link(cat, here / "hard.png")
    os.symlink(cat, here / "soft.png")
    for output in ("hard.png", "soft.png"):
        with pytest.raises(UsageError, match="is an input"):
            plan(["x"], output, inputs=[cat])
    with pytest.raises(UsageError, match="is an input"):
        plan(["cat"], None, inputs=[cat])
    assert plan(["x"], "dog.png", inputs=[cat]) == ["dog.png"]


def test_a_terminal_gets_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with pytest.raises(UsageError, match="terminal"):
        plan(["a"], "-")


def test_a_closed_stdout_gets_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(UsageError, match="stdout is closed"):
        plan(["a"], "-")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_without_permission_is_found_before_the_work(here: Path) -> None:
    (here / "closed").mkdir(mode=0o500)
    with pytest.raises(UsageError, match="no permission"):
        plan(["a"], "closed/deep/out.png")


def test_a_file_that_cannot_be_replaced_is_found_before_the_work(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be written to, but its folder may not, where the new one is made; a pipe is written into."""
    # As the system answers those who are not root.
    monkeypatch.setattr(os, "access", lambda path, mode: bool(os.stat(path).st_mode & stat.S_IWUSR))
    (here / "closed").mkdir()
    (here / "closed/old.png").touch()
    os.mkfifo(here / "closed/pipe.png")
    os.symlink("closed/old.png", here / "link.png")
    (here / "closed").chmod(0o500)
    for output in ("closed/old.png", "link.png"):
        with pytest.raises(UsageError, match="no permission"):
            plan(["a"], output)
    assert plan(["a"], "closed/pipe.png") == ["closed/pipe.png"]
    (here / "closed").chmod(0o700)
    assert plan(["a"], "link.png") == ["link.png"]


def test_other_files_must_be_writable_too(here: Path, cat: Path) -> None:
    check_writable(here / "new" / "film.gif", [cat], "--animate")
    with pytest.raises(UsageError, match="--animate"):
        check_writable(cat, [cat], "--animate")
    with pytest.raises(UsageError, match="is a folder"):
        check_writable(here, [cat], "--animate")


def test_writing_makes_the_folders_and_leaves_nothing_else(here: Path) -> None:
    from cvtool.cli.console import Console

    path = here / "new" / "deep" / "out.png"
    Destination(path, Format.png).write(b"old", Console())
    Destination(path, Format.png).write(b"new", Console())
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["out.png"]
