"""What the words on the command line stand for."""

from __future__ import annotations

import hashlib
import io
import sys
from pathlib import Path

import pytest
from PIL import Image

from cvtool import bundled
from cvtool.cli.inputs import Input, expand, paths_of, read_input, refuse_second_stdin
from cvtool.errors import BadInputError, UnknownNameError, UsageError


@pytest.fixture
def folder(here: Path) -> Path:
    """A folder with pictures in several places, and things that are none."""
    for name in ("pics/b.png", "pics/A.JPG", "pics/notes.txt", "pics/.hidden.png", "pics/deep/c.webp"):
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (here / "pics" / ".git").mkdir()
    (here / "pics" / ".git" / "d.png").touch()
    return here / "pics"


def names(arguments: list[str], **options: bool) -> list[str]:
    return [given.name for given in expand(arguments, **options)]


@pytest.mark.usefixtures("folder")
def test_a_folder_stands_for_the_pictures_directly_inside() -> None:
    assert names(["pics"]) == ["pics/A.JPG", "pics/b.png"]


@pytest.mark.usefixtures("folder")
def test_recursive_takes_all_below_but_nothing_hidden() -> None:
    assert names(["pics"], recursive=True) == ["pics/A.JPG", "pics/b.png", "pics/deep/c.webp"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("pics/*.png", ["pics/b.png"]),
        ("pics/[bA].*", ["pics/A.JPG", "pics/b.png"]),
        ("pics/**/*.webp", ["pics/deep/c.webp"]),
        ("pics/?.png", ["pics/b.png"]),
    ],
)
def test_a_glob_the_shell_left_alone(pattern: str, found: list[str]) -> None:
    assert names([pattern]) == found
    assert all(given.collected for given in expand([pattern]))


def test_a_glob_that_matches_nothing(here: Path) -> None:
    (given,) = expand(["[xy]*.jpg"])
    with pytest.raises(BadInputError, match=r"^Cannot read '\[xy\]\*\.jpg'.* as a pattern it matches nothing"):
        read_input(given)
    with pytest.raises(BadInputError, match="addresses are not fetched"):
        read_input(expand(["http://example.com/*.jpg?size=1"])[0])


def test_a_file_that_is_called_like_a_glob_is_that_file(here: Path) -> None:
    (here / "cat[1].png").touch()
    (here / "cat1.png").touch()
    assert names(["cat[1].png"]) == ["cat[1].png"]


def test_pictures_of_a_folder_come_by_name(here: Path) -> None:
    (here / "many").mkdir()
    wanted = [f"many/{number:02}.png" for number in range(40)]
    for name in [*wanted[1::2], *reversed(wanted[::2])]:
        (here / name).touch()
    assert names(["many"]) == names(["many/*"]) == wanted


@pytest.mark.usefixtures("folder")
def test_order_of_the_arguments_is_kept_and_what_is_missing_stays() -> None:
    assert names(["gone.png", "pics", "none*.png", "pics/b.png"]) == [
        "gone.png",
        "pics/A.JPG",
        "pics/b.png",
        "none*.png",
        "pics/b.png",
    ]


def test_an_empty_folder_is_a_bad_input_of_its_own(here: Path) -> None:
    (here / "empty").mkdir()
    (given,) = expand(["empty"])
    with pytest.raises(BadInputError, match=r"'empty'.*no pictures.*--recursive"):
        read_input(given)


def test_stdin_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    refuse_second_stdin(expand(["-", "a.png"]))
    with pytest.raises(UsageError, match="only once"):
        refuse_second_stdin(expand(["-", "a.png", "-"]))


def test_stdin_that_is_a_terminal_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    with pytest.raises(UsageError, match="terminal"):
        refuse_second_stdin(expand(["-"]))


def test_stems() -> None:
    assert Input("-", None).stem == "stdin"
    assert Input("a/cat.tar.png", Path("a/cat.tar.png")).stem == "cat.tar"


def test_the_picture_and_its_digest(cat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(cat.read_bytes()).hexdigest()
    picture, found = read_input(expand(["cat.png"])[0])
    assert (picture.pixels.shape, found) == ((32, 48, 3), digest)

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(cat.read_bytes())))
    piped, found = read_input(expand(["-"])[0])
    assert found == digest
    assert (piped.pixels == picture.pixels).all()


def test_a_closed_stdin_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="closed"):
        refuse_second_stdin(expand(["-"]))


def test_a_name_that_is_too_long_is_a_bad_input() -> None:
    with pytest.raises(BadInputError, match="too long"):
        read_input(expand(["x" * 300])[0])


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture(here: Path, content: bytes) -> None:
    (here / "bad.png").write_bytes(content)
    with pytest.raises(BadInputError, match=r"bad\.png"):
        read_input(expand(["bad.png"])[0])


def test_bundled_pictures() -> None:
    found = bundled.list_assets()
    assert {asset.kind for asset in found} == {"photo", "style"}
    for asset in found:
        (given,) = expand([f"asset:{asset.name}"])
        assert given.path == asset.path
        assert given.lasting_name == f"asset:{asset.name}"
        with Image.open(asset.path) as image:
            image.load()
    assert len({asset.name for asset in found}) == len(found)


def test_a_bundled_picture_is_found_whatever_its_spelling() -> None:
    assert bundled.find_asset("CAT") == bundled.find_asset("cat")
    assert bundled.find_asset("stained-glass") == bundled.find_asset("stained_glass")


def test_an_unknown_bundled_picture_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"No bundled picture 'catt'\. Nearest: cat.*cvtool assets"):
        expand(["asset:catt"])


def test_an_installed_package_finds_its_own_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "cvtool"
    (package / "assets" / "styles").mkdir(parents=True)
    (package / "assets" / "styles" / "dots.png").touch()
    (package / "assets" / "styles" / "SOURCES.md").touch()
    monkeypatch.setattr(bundled, "__file__", str(package / "bundled.py"))
    assert [(asset.name, asset.kind) for asset in bundled.list_assets()] == [("dots", "style")]


def test_lasting_names_do_not_depend_on_the_folder(here: Path, cat: Path) -> None:
    assert expand(["cat.png"])[0].lasting_name == str(here / "cat.png")
    assert expand(["-"])[0].lasting_name == "-"
    assert paths_of(expand(["-", "cat.png"])) == [Path("cat.png")]


def test_the_list_of_bundled_pictures(cvtool) -> None:
    listed = cvtool("assets")
    assert listed.code == 0
    for asset in bundled.list_assets():
        line = next(line for line in listed.out.splitlines() if line.startswith(f"asset:{asset.name} "))
        assert line.split() == [f"asset:{asset.name}", asset.kind, str(asset.path)]
