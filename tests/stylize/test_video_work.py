"""The work folder: what is kept, for whom, and what is left when it is removed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from cvtool.errors import BadInputError, CvtoolError
from cvtool.images import encode_picture
from cvtool.stylize.video.service import _summary
from cvtool.stylize.video.shots import Shot
from cvtool.stylize.video.work import MANIFEST, WorkFolder, work_folder

JOB = {"clip": "abc", "size": [4, 6], "strength": 50.0}


def test_frames_come_back_exactly(tmp_path: Path) -> None:
    work = WorkFolder.open(tmp_path / "out.mp4.frames", JOB)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.float32) / 255
    work.write(2, pixels, {"steps": 5, "flicker": None})
    assert [work.has(number) for number in range(4)] == [False, False, True, False]
    assert work.count(4) == 1
    np.testing.assert_array_equal(work.read(2), pixels)
    assert work.facts(2) == {"steps": 5, "flicker": None}
    assert sorted(file.name for file in work.path.iterdir()) == ["000003.png", MANIFEST]
    assert json.loads((work.path / MANIFEST).read_text()) == JOB


def test_the_same_work_goes_on_and_other_work_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w"
    WorkFolder.open(path, JOB)
    WorkFolder.open(path, {**JOB, "size": (4, 6)})  # tuples are lists in JSON
    for other, message in [
        ({**JOB, "strength": 70.0}, "strength was 50.0, now it is 70.0"),
        ({**JOB, "more": 1}, "more was null"),
        ({"clip": "abc", "size": [4, 6]}, "strength was 50.0, now it is null"),
    ]:
        with pytest.raises(BadInputError, match=message) as caught:
            WorkFolder.open(path, other)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[]", "3", None])
def test_a_folder_of_something_else_is_not_touched(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "w"
    path.mkdir()
    (path / "holiday.jpg").write_bytes(b"precious")
    if content is not None:
        (path / MANIFEST).write_text(content)
    with pytest.raises(BadInputError, match=r"in the way|belongs to other work"):
        WorkFolder.open(path, JOB)
    assert (path / "holiday.jpg").read_bytes() == b"precious"


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("a file")
    with pytest.raises(BadInputError, match="in the way"):
        WorkFolder.open(tmp_path / "w", JOB)


def test_killed_before_the_manifest_was_written(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    assert WorkFolder.open(tmp_path / "w", JOB).count(3) == 0
    WorkFolder.open(tmp_path / "w", JOB)


def test_removing_leaves_what_is_not_ours(tmp_path: Path) -> None:
    for foreign in (False, True):
        work = WorkFolder.open(tmp_path / f"w{foreign}", JOB)
        work.write(0, np.zeros((4, 6, 3), np.float32), {})
        (work.path / ".cvtool-0123456789abcdef.png").touch()  # of a process that was killed while writing
        if foreign:
            (work.path / "mine.txt").touch()
        work.remove(5)
        assert [file.name for file in work.path.parent.glob(f"w{foreign}/*")] == (["mine.txt"] if foreign else [])
        assert work.path.exists() == foreign


def test_a_broken_frame_says_what_to_do(tmp_path: Path) -> None:
    work = WorkFolder.open(tmp_path / "w", JOB)
    work.write(0, np.zeros((4, 6, 3), np.float32), {"steps": 1})
    work.file(0).write_bytes(work.file(0).read_bytes()[:-30])
    with pytest.raises(BadInputError):
        work.read(0)
    work.file(0).write_bytes(b"no picture")
    with pytest.raises(BadInputError, match="Remove it"):
        work.facts(0)
    for note in (
        "[]",
        "[[1, 2, 3]]",
        "3",
        "null",
        '{"steps": "many"}',
        '{"steps": [1]}',
        '{"steps": ' + "9" * 400 + "}",
    ):
        work.file(0).write_bytes(encode_picture(np.zeros((4, 6, 3), np.float32), "png", note=note))
        if note == "[]":  # as good as nothing
            assert work.facts(0) == {}
            continue
        with pytest.raises(BadInputError, match="Remove it"):
            work.facts(0)


def test_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CvtoolError, match="Cannot write"):
        WorkFolder.open(tmp_path / "file" / "w", JOB)
    assert work_folder(Path("a/out.mp4")) == Path("a/out.mp4.frames")
    assert work_folder(Path("frames")) == Path("frames.frames")


@pytest.mark.parametrize("name", ["000001.png", MANIFEST, "deep/down"])
def test_nothing_is_written_through_links(tmp_path: Path, name: str) -> None:
    WorkFolder.open(tmp_path / "w", JOB)
    link, victim = tmp_path / "w" / name, tmp_path / "victim"
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(victim)  # leads nowhere yet
    with pytest.raises(BadInputError, match="is a link"):
        WorkFolder.open(tmp_path / "w", JOB)
    assert not victim.exists()


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "w").symlink_to(tmp_path / "elsewhere")
    WorkFolder.open(tmp_path / "w", JOB).write(0, np.zeros((4, 6, 3), np.float32), {})
    assert WorkFolder.open(tmp_path / "w", JOB).count(1) == 1


def test_a_summary_of_frames_that_tell_little(tmp_path: Path) -> None:
    work = WorkFolder.open(tmp_path / "w", JOB)
    for number, facts in enumerate(({"steps": 5, "style_loss": 2.0}, {}, {"steps": None, "style_loss": float("nan")})):
        work.write(number, np.zeros((4, 6, 3), np.float32), facts)
    found = _summary(work, 4, 6, (Shot(0, 3),), 3)
    assert (found.steps, found.style_loss, found.kept) == (5, 2.0, 3)
    assert math.isnan(found.flicker)
