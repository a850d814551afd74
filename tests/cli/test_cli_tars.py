"""Tars as inputs: the pictures in them, in their order, and whatever else may be in them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli.conftest import FakePainter
from hardening.archives import member, tarred
from hardening.materials import picture
from PIL import Image

from cvtool.cli.input_lists import ListedInputs, inputs_of
from cvtool.cli.inputs import Input, expand, read_input
from cvtool.errors import BadInputError
from cvtool.provenance import read_provenance
from cvtool.tars import LARGEST_MEMBER, pictures_in


def shard(path: str | Path, *keys: str) -> Path:
    """As WebDataset lays them out: for each key a picture, its caption and its facts."""
    found = []
    for number, key in enumerate(keys):
        found += [
            member(f"{key}.json", b"{}"),
            member(f"{key}.png", picture(seed=number)),
            member(f"{key}.txt", b"a picture"),
        ]
    Path(path).write_bytes(tarred(*found))
    return Path(path)


def names(inputs: object) -> list[str]:
    return [given.name for given in inputs]  # type: ignore[attr-defined]


def test_a_tar_stands_for_its_pictures_in_their_order(here: Path) -> None:
    shard("s.tar", "000002", "000001", "deep/x.y")
    wanted = ["s.tar/000002.png", "s.tar/000001.png", "s.tar/deep/x.y.png"]
    found = expand(["s.tar"])
    assert names(found) == wanted
    assert [given.stem for given in found] == ["000002", "000001", "x.y"]
    for number, given in enumerate(found):
        pixels = np.asarray(Image.open(io.BytesIO(picture(seed=number))).convert("RGB")) / np.float32(255)
        assert np.allclose(read_input(given)[0].pixels, pixels, atol=1e-6)
    Path("list").write_text("s.tar\n")
    listed = inputs_of([], "list", null=False)
    assert list(listed) == found == list(inputs_of(["s.tar"], None, null=False))
    assert isinstance(inputs_of(["s.tar"], None, null=False), ListedInputs)
    listed.save(Path("saved"))  # type: ignore[attr-defined]
    assert list(ListedInputs.load(Path("saved"))) == found


def test_one_member_by_its_name(here: Path) -> None:
    for prefix in ("", "./"):
        shard("s.tar", f"{prefix}a", f"{prefix}b")
        (given,) = expand(["s.tar/b.png"])
        assert given == expand(["s.tar"])[1]
        assert given.name == "s.tar/b.png"
    assert given.lasting_name == str(here / "s.tar/b.png")
    (gone,) = expand(["s.tar/c.png"])
    with pytest.raises(BadInputError, match=r"s\.tar/c\.png"):
        read_input(gone)
    Path("folder.tar").mkdir()
    shard("folder.tar/x.tar", "k")
    assert names(expand(["folder.tar"])) == ["folder.tar"]  # a folder without pictures, whatever it is called


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_of_all_formats(here: Path, format: int) -> None:
    long = f"{'d' * 90}/{'é' * 30}.png" if format != tarfile.USTAR_FORMAT else f"{'d' * 90}/{'e' * 60}.png"
    with tarfile.open("s.tar", "w", format=format) as archive:
        for name in (long, "b.png"):
            info, data = member(name, picture())
            archive.addfile(info, io.BytesIO(data))
    found = expand(["s.tar"])
    assert names(found) == [f"s.tar/{long}", "s.tar/b.png"]
    assert all(read_input(given)[0].pixels.shape == (30, 40, 3) for given in found)


@pytest.mark.parametrize(("letter", "bytes"), [("e", 1), ("é", 2), ("猫", 3), ("🐈", 4)])
def test_results_are_called_after_what_a_file_system_has_room_for(here: Path, letter: str, bytes: int) -> None:
    with tarfile.open("s.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info, data = member(f"{letter * 300}.png", picture())
        archive.addfile(info, io.BytesIO(data))
    (given,) = expand(["s.tar"])
    assert given.stem == letter * (200 // bytes)
    Path(f"{given.stem}-saliency-integrated-gradients-overlay.png").touch()


def refused(given: Input) -> str:
    with pytest.raises(BadInputError) as found:
        read_input(given)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_hostile_members_are_refused_one_by_one(here: Path) -> None:
    large = tarfile.TarInfo("large.png")
    large.size = LARGEST_MEMBER + 1
    hostile = [
        member("../../a.png", picture()),
        member("/tmp/b.png", picture()),
        member("..\\c.png", picture()),
        member("d\n.png", picture()),
        member("link.png", b"", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard.png", b"", tarfile.LNKTYPE, "good.png"),
        member("device.png", b"", tarfile.CHRTYPE),
        member("pipe.png", b"", tarfile.FIFOTYPE),
        member("good.png", picture()),
    ]
    data = tarred(*hostile)
    end = data.rindex(picture()) + -(-len(picture()) // 512) * 512
    with open("s.tar", "wb") as file:
        file.write(data[:end] + large.tobuf())
        file.truncate(end + 512 + -(-large.size // 512) * 512 + 1024)  # a hole, so that nothing is written
    found = expand(["s.tar"])
    assert [Path(given.name).name for given in found][-2:] == ["good.png", "large.png"]
    told = [refused(given) for given in found if given.stem != "good"]
    assert ["out of the archive" in each for each in told[:3]] == [True] * 3
    assert "no file should have" in told[3]
    assert all("not a file" in each for each in told[4:8])
    assert "256 MiB" in told[8]
    assert len(told) == 9
    assert all("/" not in given.stem and "\\" not in given.stem for given in found)


@pytest.mark.parametrize(
    ("change", "pictures", "says"),
    [
        (lambda data: data[: len(data) // 2], 2, "truncated or broken"),
        (lambda data: b"", 0, "no tar archive"),
        (lambda data: b"no tar" * 500, 0, "no tar archive"),
        (gzip.compress, 0, "compressed"),
        (lambda data: tarred(member("a.txt", b"a")), 0, "holds no pictures"),
    ],
)
def test_a_broken_tar_is_one_bad_input_after_what_can_be_read(
    here: Path, change: Callable[[bytes], bytes], pictures: int, says: str
) -> None:
    Path("s.tar").write_bytes(change(shard("s.tar", "a", "b", "c", "d").read_bytes().rstrip(b"\0") + bytes(1024)))
    *good, last = expand(["s.tar"])
    assert len(good) == pictures
    assert last.name == "s.tar"
    assert says in refused(last)


def test_a_tar_that_changes_is_noticed(here: Path) -> None:
    shard("s.tar", "a", "b")
    found = expand(["s.tar"])
    shard("s.tar", "x", "y")
    assert "has changed" in refused(found[0])


def test_many_members_take_little_memory(here: Path) -> None:
    with tarfile.open("s.tar", "w") as archive:
        for number in range(3000):
            archive.addfile(tarfile.TarInfo(f"{number:06d}.png"))
    tracemalloc.start()
    try:
        assert sum(1 for _ in pictures_in(Path("s.tar"))) == 3000
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def test_a_batch_of_tars(cvtool: Callable, here: Path, wave: Path, painter: FakePainter) -> None:
    shard("one.tar", "a", "b")
    whole = shard("two.tar", "a", "c").read_bytes()
    Path("two.tar").write_bytes(whole[: whole.index(b"c.png")])
    done = cvtool("stylize", "one.tar", "two.tar", "--style", wave, "-o", "out/", "--json")
    assert done.code == 3
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["input"] for line in lines] == ["one.tar/a.png", "one.tar/b.png", "two.tar/a.png", "two.tar"]
    assert sorted(path.name for path in Path("out").iterdir())[:2] == ["a-stylize-2.png", "a-stylize.png"]
    assert "error" in lines[-1]
    note = read_provenance(Path("out/b-stylize.png"))
    assert note is not None
    assert note.inputs[0]["path"] == str(here / "one.tar/b.png")
    assert cvtool("stylize", "one.tar", "--style", wave, "-o", "one.tar").code == 2
