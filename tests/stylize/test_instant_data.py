"""Pictures to learn from: what is found, what is refused, what a view depends on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cvtool.errors import BadInputError
from cvtool.problems import BadPicturesError
from cvtool.stylize.instant.data import Views, batch, find_pictures, read_shelf
from cvtool.training import RunDirectory


def make_pictures(folder: Path, count: int, size: tuple[int, int] = (80, 60)) -> Path:
    """Noise that is smooth enough to survive JPEG."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        chance = np.random.default_rng(number)
        coarse = Image.fromarray(chance.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures") / "some", 20)


def test_folders_are_found_with_and_without_their_kind(folder: Path) -> None:
    assert find_pictures(f"folder:{folder}") == find_pictures(str(folder)) == sorted(folder.iterdir())


def test_folders_within_are_searched_but_not_what_is_hidden_nor_runs(tmp_path: Path) -> None:
    make_pictures(tmp_path / "some" / "more", 2)
    for folder in (tmp_path / ".cache", tmp_path / "run" / "samples"):
        make_pictures(folder, 1)
    run = RunDirectory(tmp_path / "run")
    run.write_config({})
    run.log({"step": 1})
    assert find_pictures(str(tmp_path)) == sorted((tmp_path / "some" / "more").iterdir())


def test_of_flickr8k_only_the_training_split_is_taken(tmp_path: Path) -> None:
    make_pictures(tmp_path / "images", 3)
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("02.png\n00.png\n")
    expected = [tmp_path / "images" / "02.png", tmp_path / "images" / "00.png"]
    assert find_pictures(f"flickr8k:{tmp_path}") == expected
    assert find_pictures(str(tmp_path)) == expected


@pytest.mark.parametrize("place", ["Flickr8k_Dataset/Flicker8k_Dataset", "Flicker8k_Dataset", "."])
def test_flickr8k_as_it_is_unpacked(tmp_path: Path, place: str) -> None:
    """Texts in a folder of their own; empty folders are passed over."""
    (tmp_path / "images").mkdir()
    make_pictures(tmp_path / place, 2)
    (tmp_path / "Flickr8k_text").mkdir()
    (tmp_path / "Flickr8k_text" / "Flickr_8k.trainImages.txt").write_text("01.png\n00.png\n")
    for spec in (f"flickr8k:{tmp_path}", str(tmp_path), f"flickr8k:{tmp_path / 'Flickr8k_text'}"):
        assert [path.resolve() for path in find_pictures(spec)] == [tmp_path / place / f"0{n}.png" for n in (1, 0)]


def test_a_split_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Flickr_8k.trainImages.txt").write_bytes(b"01.png\n\xff.png\n")
    with pytest.raises(BadInputError, match="not UTF-8"):
        find_pictures(str(tmp_path))


@pytest.mark.parametrize("spec", ["nowhere", "folder:nowhere", "flickr8k:."])
def test_what_is_not_there_is_said(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError):
        find_pictures(spec)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no pictures"):
        find_pictures(str(tmp_path))


def test_a_part_is_held_out_and_the_same_one_each_time(folder: Path) -> None:
    one, other = (read_shelf([str(folder)], held_out=0.25, fewest=2) for _ in range(2))
    assert len(one.held_out) == 5
    assert set(one.held_out) | set(one.train) == set(folder.iterdir())
    assert not set(one.held_out) & set(one.train)
    assert one == other


def test_the_fingerprint_knows_the_pictures(folder: Path, tmp_path: Path) -> None:
    fewer = make_pictures(tmp_path / "fewer", 19)
    prints = [read_shelf([str(each)], held_out=0.1, fewest=2).fingerprint for each in (folder, fewer)]
    assert prints[0] != prints[1]


def test_bad_pictures_are_named_or_skipped(tmp_path: Path) -> None:
    make_pictures(tmp_path, 6)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    Image.new("RGB", (300, 20)).save(tmp_path / "thin.png")
    with pytest.raises(BadPicturesError, match="2 of 8") as caught:
        read_shelf([str(tmp_path)], held_out=0.2, fewest=2)
    broken, thin = caught.value.problems
    assert str(broken).startswith(f"'{tmp_path / 'broken.png'}' is truncated or broken: ")
    assert str(thin) == f"'{tmp_path / 'thin.png'}' is too small: 300 x 20 pixels, 48 a side are needed."
    shelf = read_shelf([str(tmp_path)], held_out=0.2, fewest=2, skip_bad=True)
    assert len(shelf.train) + len(shelf.held_out) == 6
    with pytest.raises(BadInputError, match="too few"):
        read_shelf([str(tmp_path)], held_out=0.2, fewest=7, skip_bad=True)


def test_a_missing_picture_is_told(tmp_path: Path) -> None:
    make_pictures(tmp_path / "images", 1)
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("00.png\n01.png\n")
    with pytest.raises(BadPicturesError) as caught:
        read_shelf([str(tmp_path)], held_out=0.2, fewest=1)
    gone = tmp_path / "images" / "01.png"
    told = f"'{gone}' cannot be used: Cannot read '{gone}': there is no such file. Check the path."
    assert list(map(str, caught.value.problems)) == [told]


def test_views_are_square_in_range_and_depend_on_the_step_alone(folder: Path) -> None:
    files = sorted(folder.iterdir())
    views = Views(files[:10], files[10:], photos=0.3)
    contents, styles = batch(views, 48, 3, seed=5, step=7)
    assert contents.shape == (3, 3, 48, 48)
    assert styles.shape == (3, 3, 64, 64)
    for each in (contents, styles):
        assert each.dtype == torch.float32
        assert 0 <= float(each.min()) < float(each.max()) <= 1
    again = batch(Views(files[:10], files[10:], photos=0.3), 48, 3, seed=5, step=7)
    assert torch.equal(again[0], contents)
    assert torch.equal(again[1], styles)
    assert not torch.equal(batch(views, 48, 3, seed=5, step=8)[0], contents)


def test_pictures_smaller_than_a_view_are_enlarged(tmp_path: Path) -> None:
    files = sorted(make_pictures(tmp_path, 2, (50, 50)).iterdir())
    contents, styles = batch(Views(files, files, photos=0.0), 96, 1, seed=0, step=0)
    assert contents.shape[2:] == (96, 96)
    assert styles.shape[2:] == (128, 128)


def test_lack_of_memory_leaves_no_picture_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr("cvtool.images.decode_deep", fail)
    with pytest.raises(MemoryError):
        read_shelf([str(folder)], held_out=0.25, fewest=2, skip_bad=True)
