"""Watching a folder: with looks that are told what they see, with real files, and with a real Ctrl-C. No sleeping."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from helpers import save

from cvtool.cli.console import Console
from cvtool.cli.inputs import Input, read_input
from cvtool.cli.options import Format
from cvtool.cli.outputs import Destination
from cvtool.cli.stylize_watch import Results, plan_watch, watch_folder
from cvtool.cli.watching import SETTLED, FolderWatch, Found, pictures_in
from cvtool.errors import BadInputError, CvtoolError, Interrupted, UnsuitableInputError, UsageError

NOW = 1_000_000.0


class Folder:
    """A folder as its looks show it: a list of {name: (size, seconds since the change)}; None cannot be read."""

    def __init__(self, *looks: dict[str, tuple[int, float]] | None) -> None:
        self.looks = iter(looks)

    def __call__(self, folder: Path) -> list[Found]:
        seen = next(self.looks)
        if seen is None:
            raise FileNotFoundError(folder)
        return [Found(folder / name, size, int((NOW - age) * 1e9)) for name, (size, age) in seen.items()]


def told(*looks: dict[str, tuple[int, float]] | None, ignored: frozenset[Path] = frozenset()) -> list[list[str]]:
    watch = FolderWatch(Path("in"), ignored, scan=Folder(*looks), now=lambda: NOW)
    return [[path.name for path in watch.look()] for _ in looks]


def test_what_is_there_at_the_start_is_told_at_once_and_once() -> None:
    there = {"a.png": (10, 60.0), "b.jpg": (20, SETTLED)}
    assert told(there, there, there) == [["a.png", "b.jpg"], [], []]


def test_a_file_that_grows_is_told_when_it_has_stopped() -> None:
    looks = [{"a.png": (size, age)} for size, age in [(0, 0.1), (10, 0.1), (30, 0.05), (30, 0.05), (30, 0.05)]]
    assert told(*looks) == [[], [], [], ["a.png"], []]


def test_a_file_with_an_old_date_that_still_grows_is_not_told() -> None:
    """Some programs keep the date of what they copy."""
    assert told({}, {"a.png": (10, 9999.0)}, {"a.png": (20, 9999.0)}, {"a.png": (20, 9999.0)}) == [
        [],
        [],
        [],
        ["a.png"],
    ]


def test_an_empty_file_is_never_complete() -> None:
    assert told(*[{"a.png": (0, 60.0)}] * 3) == [[], [], []]


def test_a_file_that_is_replaced_is_told_again() -> None:
    old, new = {"a.png": (10, 60.0)}, {"a.png": (10, 1.0)}  # same size, another date
    assert told(old, new, new, new) == [["a.png"], [], ["a.png"], []]


def test_a_folder_that_goes_and_comes_back_is_not_done_twice() -> None:
    there = {"a.png": (10, 60.0)}
    watch = FolderWatch(Path("in"), scan=Folder(there, None, {}, there, there), now=lambda: NOW)
    assert [path.name for path in watch.look()] == ["a.png"]
    assert watch.look() == []
    assert not watch.reachable
    assert watch.look() == []
    assert watch.reachable
    assert watch.look() + watch.look() == []


def test_ignored_files(tmp_path: Path) -> None:
    style = save(tmp_path / "style.png").resolve()
    watch = FolderWatch(tmp_path, frozenset({style}), now=lambda: style.stat().st_mtime + 60)
    save(tmp_path / "a.png")
    assert [path.name for path in watch.look()] == ["a.png"]


def test_only_pictures_under_their_own_names(tmp_path: Path) -> None:
    for name in [".a.png", "~a.png", "a.png~", "a.png.part", "b.crdownload", "c.txt", "#d.png#", "e.JPG", "f.png"]:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone.png")
    assert [each.path.name for each in pictures_in(tmp_path)] == ["e.JPG", "f.png"]
    with pytest.raises(OSError, match="gone"):
        pictures_in(tmp_path / "gone")


class Painter:
    """Reads each content, writes a byte for it, and remembers; may press Ctrl-C in the middle."""

    def __init__(self, press_at: str = "") -> None:
        self.done: list[tuple[str, str]] = []
        self.press_at = press_at

    def __call__(self, given: Input, destination: Destination) -> None:
        assert given.path is not None
        assert destination.path is not None
        read_input(given)
        self.done.append((given.path.name, destination.path.name))
        destination.path.write_bytes(b"x")
        if given.path.name == self.press_at:
            os.kill(os.getpid(), signal.SIGINT)


def press_after(sleeps: int, between: dict[int, object] | None = None):
    """A sleep that presses Ctrl-C the n-th time; before that it lets things happen in the folder."""
    count = 0

    def sleep(seconds: float) -> None:
        nonlocal count
        count += 1
        happen = (between or {}).get(count)
        if happen is not None:
            happen()  # type: ignore[operator]
        if count == sleeps:
            os.kill(os.getpid(), signal.SIGINT)

    return sleep


@pytest.fixture
def inbox(here: Path) -> Path:
    folder = here / "inbox"
    folder.mkdir()
    return folder


def followed(inbox: Path, painter: Painter, sleep, *, console: Console | None = None) -> Interrupted:
    results = plan_watch(str(inbox), output="out", format=None, inputs=[])
    watch = FolderWatch(inbox, now=lambda: 4e9)  # far in the future: what is there has settled
    with pytest.raises(Interrupted) as ended:
        watch_folder(watch, painter, results, console or Console(quiet=True), sleep=sleep)
    return ended.value


def test_first_what_is_there_then_what_comes(inbox: Path) -> None:
    save(inbox / "b.png")
    save(inbox / "a.png")
    painter = Painter()
    ended = followed(inbox, painter, press_after(4, {1: lambda: save(inbox / "c.jpg")}))
    assert painter.done == [("a.png", "a-stylize.png"), ("b.png", "b-stylize.png"), ("c.jpg", "c-stylize.png")]
    assert ended.exit_code == 130
    assert "3 pictures" in str(ended)


def test_a_replaced_picture_keeps_its_place(inbox: Path) -> None:
    save(inbox / "cat.png")
    save(inbox / "cat.jpg")
    painter = Painter()
    replace = {1: lambda: save(inbox / "cat.png", (1, 2, 3), (10, 90))}
    followed(inbox, painter, press_after(4, replace))
    again = ("cat.png", "cat-stylize-2.png")
    assert painter.done == [("cat.jpg", "cat-stylize.png"), again, again]


def test_a_bad_picture_is_told_and_tried_again_when_it_changes(inbox: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (inbox / "bad.png").write_bytes(b"no picture at all")
    save(inbox / "good.png")
    painter = Painter()
    followed(
        inbox, painter, press_after(4, {1: lambda: save(inbox / "bad.png")}), console=Console(json=True, quiet=True)
    )
    assert painter.done == [("good.png", "good-stylize.png"), ("bad.png", "bad-stylize.png")]
    out, err = capfd.readouterr()
    assert err.count("bad.png") == 1
    (line,) = map(json.loads, out.splitlines())
    assert line["input"].endswith("bad.png")
    assert "not a picture" in line["error"]


def test_a_picture_that_is_too_large_does_not_end_the_watch(inbox: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png"):
        save(inbox / name)

    class Small(Painter):
        def __call__(self, given: Input, destination: Destination) -> None:
            if given.path is not None and given.path.name == "a.png":
                raise UnsuitableInputError("it is too large")
            super().__call__(given, destination)

    painter = Small()
    followed(inbox, painter, press_after(1))
    assert painter.done == [("b.png", "b-stylize.png")]
    assert "a.png: it is too large" in capfd.readouterr().err


def test_ctrl_c_in_the_middle_of_a_picture_ends_after_it(inbox: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        save(inbox / name)
    painter = Painter(press_at="b.png")
    ended = followed(inbox, painter, press_after(99))
    assert [name for name, _ in painter.done] == ["a.png", "b.png"]
    assert "2 pictures" in str(ended)


def test_what_would_meet_every_picture_ends_the_watch(inbox: Path) -> None:
    save(inbox / "a.png")

    def full(given: Input, destination: Destination) -> None:
        raise CvtoolError("the disk is full")

    results = plan_watch(str(inbox), output="out", format=None, inputs=[])
    with pytest.raises(CvtoolError, match="disk is full"):
        watch_folder(FolderWatch(inbox, now=lambda: 4e9), full, results, Console(quiet=True), sleep=press_after(1))


def test_the_user_hears_of_a_folder_that_goes(inbox: Path, capfd: pytest.CaptureFixture[str]) -> None:
    away = inbox.with_name("away")
    happen = {1: lambda: inbox.rename(away), 3: lambda: away.rename(inbox)}
    followed(inbox, Painter(), press_after(5, happen), console=Console())
    err = capfd.readouterr().err
    assert err.count("cannot be read any more") == 1
    assert err.count("is back") == 1


@pytest.mark.parametrize(
    ("watch", "output", "kind", "message"),
    [
        ("nowhere", "out", BadInputError, "not a folder"),
        ("inbox", "inbox", UsageError, "painted again"),
        ("inbox", "inbox/../inbox/", UsageError, "painted again"),
        (".", None, UsageError, "painted again"),
        ("inbox", "-", UsageError, "many pictures"),
        ("inbox", "cat.png", UsageError, "is a file"),
    ],
)
def test_folders_that_do_not_work(inbox, cat, watch: str, output: str | None, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        plan_watch(watch, output=output, format=None, inputs=[])


def test_no_input_is_written_over(here: Path) -> None:
    style = save("out/cat-stylize.png")
    results = Results(here / "out", Format.png, [style])
    with pytest.raises(UsageError, match="is an input"):
        results.of(here / "inbox/cat.jpg")
