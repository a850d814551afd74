"""Captions from every format, and what is said of broken ones."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers import save

from cvtool.caption.datasets import CaptionData, problems, read_captions, without
from cvtool.caption.datasets.data import split_by_hash
from cvtool.caption.vocabulary import SPECIALS
from cvtool.errors import BadInputError, CvtoolError, UsageError

TOKENS = "a.jpg#0\tA dog .\na.jpg#1\tA black dog .\nb.jpg#0\tA cat , asleep .\nc.jpg#0\tCafé .\nd.jpg#0\tNobody's .\n"


def flickr8k(folder: Path, tokens: str | bytes = TOKENS, images: str = "images", text: str = ".") -> Path:
    where = folder / text
    where.mkdir(parents=True, exist_ok=True)
    (where / "Flickr8k.token.txt").write_bytes(tokens.encode() if isinstance(tokens, str) else tokens)
    for split, names in (("train", "a.jpg\n"), ("dev", "b.jpg\r\n"), ("test", "c.jpg")):
        (where / f"Flickr_8k.{split}Images.txt").write_text(names)
    for name in "abc":
        save(folder / images / f"{name}.jpg")
    return folder


def coco(folder: Path, **changes: object) -> Path:
    for part, number in (("val2017", 1), ("train2017", 2)):  # by hash, the first of two goes to train
        content = {
            "images": [{"id": number, "file_name": f"{number}.jpg"}],
            "annotations": [{"image_id": number, "caption": text} for text in ("A dog.", " A cat.\n")],
        }
        (folder / "annotations").mkdir(parents=True, exist_ok=True)
        (folder / f"annotations/captions_{part}.json").write_text(json.dumps(content | changes))
        save(folder / part / f"{number}.jpg")
    return folder


def jsonl(folder: Path, *lines: object) -> Path:
    file = folder / "captions.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return file


def karpathy(folder: Path, splits: tuple[str, ...] = ("train", "restval", "val", "test")) -> Path:
    images = [
        {"filename": f"{name}.jpg", "split": split, "sentences": [{"raw": f"Picture {name}."}]}
        for name, split in zip("abcd", splits, strict=True)
    ]
    file = folder / "dataset_flickr8k.json"
    file.write_text(json.dumps({"images": images, "dataset": "flickr8k"}))
    return file


def cs231n(folder: Path, words: tuple[str, ...] = (*SPECIALS, "a", "dog"), **changes: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    index = {word: number for number, word in enumerate(words)}
    (folder / "coco2014_vocab.json").write_text(json.dumps({"idx_to_word": words, "word_to_idx": index}))
    captions = np.zeros((3, 17), dtype=np.int32)
    captions[:, :4] = [[1, 4, 5, 2], [1, 5, 2, 0], [1, 4, 3, 2]]
    arrays = {"captions": captions, "image_idxs": np.array([1, 0, 1], dtype=np.int32)}
    with h5py.File(folder / "coco2014_captions.h5", "w") as file:
        for part in ("train", "val"):
            for name, values in (arrays | changes).items():
                file[f"{part}_{name}"] = values
    for part in ("train", "val"):
        with h5py.File(folder / f"{part}2014_vgg16_fc7_pca.h5", "w") as file:
            file["features"] = np.arange(12, dtype=np.float32).reshape(3, 4)
        (folder / f"{part}2014_urls.txt").write_text("u0\nu1\nu2\n")
    return folder


def by_split(data: CaptionData) -> dict[str, list[str]]:
    return {split: [picture.name for picture in data.split(split)] for split in ("train", "dev", "test")}


@pytest.mark.parametrize(
    ("images", "text", "where"),
    [
        ("images", ".", "."),
        ("Images", ".", "."),
        ("Flicker8k_Dataset", "Flickr8k_text", "."),
        ("Flicker8k_Dataset", "Flickr8k_text", "Flickr8k_text"),
        (".", ".", "."),
    ],
)
@pytest.mark.parametrize("kind", ["flickr8k:", ""])
def test_flickr8k_wherever_its_parts_lie(tmp_path: Path, images: str, text: str, where: str, kind: str):
    data = read_captions(f"{kind}{flickr8k(tmp_path, images=images, text=text) / where}")
    assert by_split(data) == {"train": ["a.jpg"], "dev": ["b.jpg"], "test": ["c.jpg"]}  # d.jpg is in no split
    assert data.pictures[0].captions == ("A dog .", "A black dog .")
    assert all(picture.path and picture.path.is_file() for picture in data.pictures)
    assert problems(data, decode=True) == []


def test_flickr8k_as_kaggle_has_it(tmp_path: Path):
    table = 'image,caption\na.jpg,A dog .\na.jpg,"A dog , wet , runs ."\nb.jpg,A cat .\n'
    (tmp_path / "captions.txt").write_text(table)
    for name in "ab":
        save(tmp_path / f"Images/{name}.jpg")
    data = read_captions(str(tmp_path))
    assert data.pictures[0].captions == ("A dog .", "A dog , wet , runs .")
    assert problems(data) == []


@pytest.mark.parametrize("kind", ["coco:", ""])
def test_coco(tmp_path: Path, kind: str):
    data = read_captions(f"{kind}{coco(tmp_path)}")
    assert by_split(data) == {"train": ["2.jpg"], "dev": ["1.jpg"], "test": []}
    assert data.pictures[0].captions == ("A dog.", "A cat.")
    assert problems(data, decode=True) == []


@pytest.mark.parametrize("kind", ["jsonl:", ""])
def test_jsonl(tmp_path: Path, kind: str):
    save(tmp_path / "in/a.png")
    save(tmp_path / "b.png")
    lines = [{"image": "in/a.png", "captions": ["A dog."], "split": "val"}, "", {"image": "b.png", "captions": ["B"]}]
    data = read_captions(f"{kind}{jsonl(tmp_path, *lines)}")
    assert by_split(data) == {"train": ["b.png"], "dev": ["in/a.png"], "test": []}
    assert problems(data, decode=True) == []


@pytest.mark.parametrize("kind", ["folder:", ""])
def test_folder(tmp_path: Path, kind: str):
    for name in ("train/a.png", "train/deep/b.jpg", "test/a.png"):
        save(tmp_path / name).with_suffix(".txt").write_text("\ufeffOne.\n\n  Two.\n", "utf-8")
    (tmp_path / "README.txt").write_text("about")
    data = read_captions(f"{kind}{tmp_path}")
    assert by_split(data) == {"train": ["train/a.png", "train/deep/b.jpg"], "dev": [], "test": ["test/a.png"]}
    assert {picture.captions for picture in data.pictures} == {("One.", "Two.")}
    assert problems(data, decode=True) == []


@pytest.mark.parametrize("kind", ["karpathy:", "folder", "file"])
def test_karpathys_json(tmp_path: Path, kind: str):
    file = karpathy(tmp_path)
    for name in "abcd":
        save(tmp_path / f"images/{name}.jpg")
    data = read_captions({"karpathy:": f"karpathy:{file}", "folder": str(tmp_path), "file": str(file)}[kind])
    assert by_split(data) == {"train": ["a.jpg", "b.jpg"], "dev": ["c.jpg"], "test": ["d.jpg"]}
    assert problems(data) == []


def test_a_split_file_replaces_the_splits(tmp_path: Path):
    where = f"flickr8k:{flickr8k(tmp_path)}"
    other = karpathy(tmp_path, ("test", "train", "val", "train"))
    assert by_split(read_captions(where, split_file=other)) == {
        "train": ["b.jpg", "d.jpg"],
        "dev": ["c.jpg"],
        "test": ["a.jpg"],
    }
    other.write_text(json.dumps({"train": ["b.jpg"], "val": ["a.jpg"], "test": []}))
    data = read_captions(where, split_file=other)
    assert by_split(data) == {"train": ["b.jpg"], "dev": ["a.jpg"], "test": []}
    other.write_text(json.dumps({"train": ["b.jpg", "zebra.jpg"]}))
    (problem,) = problems(read_captions(where, split_file=other))
    assert problem.name == "zebra.jpg"
    for broken in ({"train": ["zebra.jpg"]}, {}, [], {"train": 5}, {"other": ["b.jpg"]}, {"images": [{}]}):
        other.write_text(json.dumps(broken))
        with pytest.raises(BadInputError, match=r"dataset_flickr8k\.json"):
            read_captions(where, split_file=other)
    other.write_text(json.dumps({"train": ["b.jpg"], "test": ["b.jpg"]}))
    with pytest.raises(BadInputError, match="two splits"):
        read_captions(where, split_file=other)


def test_cs231n_unchanged(tmp_path: Path):
    data = read_captions(str(cs231n(tmp_path)))
    assert by_split(data)["train"] == ["train/000000", "train/000001"]  # row 2 has no captions
    assert data.split("train")[1].captions == ("a dog", "a <UNK>")
    assert data.split("dev")[0].path is None
    assert problems(data, decode=True) == []
    features = data.features
    assert features is not None
    assert features.captions["train"].shape == (3, 17)
    assert features.pictures["train"].tolist() == [1, 0, 1]
    assert features.vocabulary.words == (*SPECIALS, "a", "dog")
    assert features.urls["dev"] == ("u0", "u1", "u2")
    assert (features.channels, features.rows) == (4, {"train": 3, "dev": 3})
    np.testing.assert_array_equal(features.matrix("dev"), np.arange(12).reshape(3, 4))
    with pytest.raises(UsageError, match="no split 'test'"):
        features.matrix("test")
    with pytest.raises(UsageError, match="split file"):
        read_captions(f"cs231n:{tmp_path}", split_file=karpathy(tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"captions": np.zeros((2, 17), np.int32)}, "2 captions but 3"),
        ({"captions": np.full((3, 17), 6, np.int32)}, "vocabulary of 6"),
        ({"captions": np.zeros((3, 17), np.float32)}, "float32"),
        ({"captions": np.zeros(3, np.int32)}, "1-dimensional"),
        ({"image_idxs": np.array([0, 1, 3])}, "names a picture"),
        ({"image_idxs": np.array([0, -1, 3])}, "names a picture"),
    ],
)
def test_cs231n_that_does_not_fit_together(tmp_path: Path, changes: dict, words: str):
    with pytest.raises(BadInputError, match=words):
        read_captions(f"cs231n:{cs231n(tmp_path, **changes)}")


def test_cs231n_with_files_broken_or_missing(tmp_path: Path):
    where = cs231n(tmp_path)
    captions = where / "coco2014_captions.h5"
    whole = captions.read_bytes()
    captions.write_bytes(whole[:-100])
    with pytest.raises(BadInputError, match=r"captions\.h5' is truncated"):
        read_captions(f"cs231n:{where}")
    captions.write_bytes(b"not at all")
    with pytest.raises(BadInputError, match="not an HDF5 file"):
        read_captions(f"cs231n:{where}")
    captions.write_bytes(whole)
    (where / "val2014_urls.txt").write_text("one")
    with pytest.raises(BadInputError, match="1 lines for 3"):
        read_captions(f"cs231n:{where}")
    (where / "val2014_vgg16_fc7_pca.h5").unlink()
    with pytest.raises(BadInputError, match="val2014_vgg16_fc7"):
        read_captions(f"cs231n:{where}")
    for broken in ("[]", '{"idx_to_word": [1]}', '{"idx_to_word": ["a"], "idx_to_word": ["a"]}', "[" * 100000):
        (where / "coco2014_vocab.json").write_text(broken)
        with pytest.raises(BadInputError, match=r"vocab\.json"):
            read_captions(f"cs231n:{where}")


def test_hdf5_files_speak_only_of_themselves(tmp_path: Path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["train_captions"] = np.zeros((3, 17), np.int32)
    where = cs231n(tmp_path / "set")
    captions = where / "coco2014_captions.h5"
    with h5py.File(captions, "r+") as file:
        del file["train_captions"]
        file["train_captions"] = h5py.ExternalLink(str(secret), "train_captions")
    with pytest.raises(BadInputError, match="link to elsewhere"):
        read_captions(f"cs231n:{where}")
    with h5py.File(captions, "r+") as file:
        del file["train_captions"]
        layout = h5py.VirtualLayout((3, 17), np.int32)
        layout[:] = h5py.VirtualSource(str(secret), "train_captions", (3, 17))
        file.create_virtual_dataset("train_captions", layout)
    with pytest.raises(BadInputError, match="lies in another file"):
        read_captions(f"cs231n:{where}")
    with h5py.File(captions, "r+") as file:
        del file["train_captions"]
        (tmp_path / "raw").write_bytes(bytes(204))
        file.create_dataset("train_captions", (3, 17), np.int32, external=[(str(tmp_path / "raw"), 0, 204)])
    with pytest.raises(BadInputError, match="lies in another file"):
        read_captions(f"cs231n:{where}")


def names_and_words(data: CaptionData, **options: bool) -> dict[str, str]:
    return {problem.name: problem.what for problem in problems(data, **options)}


def test_problems_of_flickr8k(tmp_path: Path):
    tokens = b"a.jpg#0\tA dog .\na.jpg#0\tAgain .\nb.jpg#0\t  \nno tab\nc.jpg#0\tCaf\xe9\nc.jpg#1\tSo .\n"
    where = flickr8k(tmp_path, tokens)
    (where / "Flickr_8k.trainImages.txt").write_text("a.jpg\nzebra.jpg\n")
    (where / "images/c.jpg").write_bytes((where / "images/c.jpg").read_bytes()[:200])
    (where / "images/a.jpg").unlink()
    data = read_captions(f"flickr8k:{where}")
    found = problems(data, decode=True)
    assert {(problem.name, word) for problem in found for word in problem.what.split()} >= {
        ("a.jpg", "number"),  # twice
        ("a.jpg", "missing:"),
        ("b.jpg", "empty"),
        ("Flickr8k.token.txt:4", "NAME#NUMBER,"),
        ("Flickr8k.token.txt:5", "UTF-8"),
        ("c.jpg", "truncated"),
        ("zebra.jpg", "split"),
    }
    assert all("\n" not in str(problem) for problem in found)
    with pytest.raises(BadInputError, match="No picture"):
        without(data, found)
    kept = without(data, [problem for problem in found if problem.name != "c.jpg"])
    assert [picture.name for picture in kept.pictures] == ["c.jpg"]
    assert kept.fingerprint != data.fingerprint
    assert list(names_and_words(kept, decode=True)) == ["c.jpg"]
    assert problems(kept) == []


def test_a_picture_in_two_splits_is_a_problem(tmp_path: Path):
    where = flickr8k(tmp_path)
    (where / "Flickr_8k.devImages.txt").write_text("a.jpg\nb.jpg\n")
    assert "two splits" in names_and_words(read_captions(f"flickr8k:{where}"))["a.jpg"]


def test_problems_of_jsonl(tmp_path: Path):
    save(tmp_path / "a.png")
    good = {"image": "a.png", "captions": ["A dog."]}
    lines = [
        good,
        good,
        "{",
        [],
        {"image": "b.png"},
        {"image": 5, "captions": []},
        {"image": "c.png", "captions": "text"},
        '{"image": "d.png", "image": "e.png", "captions": ["x"]}',
        "[" * 100000,
        good | {"split": "other"},
        {"image": "f.png", "captions": ["\ud800", "…", "a" * 6000]},
        {"image": "g.png", "captions": []},
    ]
    data = read_captions(f"jsonl:{jsonl(tmp_path, *lines)}")
    found = problems(data)
    assert Counter(problem.name for problem in found) == {
        "a.png": 1,
        **{f"captions.jsonl:{number}": 1 for number in range(3, 11)},
        "f.png": 4,  # missing, too
        "g.png": 2,
    }
    assert names_and_words(data)["a.png"] == "is on two lines of captions.jsonl, 1 and 2"
    kept = without(data, [problem for problem in found if problem.name != "a.png"])
    assert [picture.name for picture in kept.pictures] == ["a.png"]


def test_problems_of_a_folder(tmp_path: Path):
    save(tmp_path / "a.png").with_suffix(".txt").write_text("A dog.")
    save(tmp_path / "b.png").with_suffix(".txt").write_bytes(b"Caf\xe9\n")
    save(tmp_path / "c.png")
    (tmp_path / "lonely.txt").write_text("A cat.")
    found = names_and_words(read_captions(f"folder:{tmp_path}"))
    assert found.keys() == {"b.png", "c.png", "lonely.txt"}
    (tmp_path / "a.txt").write_text("A dog.", "utf-16")
    with pytest.raises(BadInputError, match="UTF-16"):
        read_captions(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    "changes",
    [
        {"images": 5},
        {"images": [{"id": 1}]},
        {"images": [{"id": 1, "file_name": 5}]},
        {"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]},
        {"images": [{"id": [], "file_name": "a"}]},
        {"annotations": [{"image_id": 9, "caption": "x"}]},
        {"annotations": [{"image_id": 1, "caption": None}]},
        {"annotations": [{}]},
        {"annotations": [[]]},
        {"annotations": None},
    ],
)
def test_broken_coco(tmp_path: Path, changes: dict):
    with pytest.raises(BadInputError, match=r"captions_train2017\.json' is no COCO captions file"):
        read_captions(f"coco:{coco(tmp_path, **changes)}")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{", b"\xe9", b"[" * 100000, b"[]", b"5", b"null"])
def test_json_that_is_none(tmp_path: Path, content: bytes):
    where = coco(tmp_path)
    (where / "annotations/captions_train2017.json").write_bytes(content)
    with pytest.raises(BadInputError, match="COCO captions file"):
        read_captions(f"coco:{where}")
    file = karpathy(tmp_path)
    file.write_bytes(content)
    with pytest.raises(BadInputError, match="split file"):
        read_captions(f"karpathy:{file}")


def test_names_that_come_twice_in_coco(tmp_path: Path):
    where = coco(tmp_path, images=[{"id": 1, "file_name": "x.jpg"}, {"id": 2, "file_name": "x.jpg"}])
    found = problems(read_captions(f"coco:{where}"))
    assert {"is listed twice", "is in two files, the second is captions_val2017.json"} <= {each.what for each in found}


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("flickr8k:", UsageError),
        ("flicker8k:there", UsageError),
        ("zip:x.zip", UsageError),
        ("", BadInputError),
        ("/nowhere/at/all", BadInputError),
        ("jsonl:/nowhere", BadInputError),
        ("folder:/nowhere", BadInputError),
        ("coco:/nowhere", BadInputError),
        ("cs231n:/nowhere", BadInputError),
        ("karpathy:/nowhere", BadInputError),
        ("flickr8k:/nowhere", BadInputError),
        ("flickr8k:a\0b", BadInputError),
        ("a\0b", BadInputError),
    ],
)
def test_what_names_no_data(spec: str, error: type[CvtoolError]):
    with pytest.raises(error) as caught:
        read_captions(spec)
    assert "\n" not in str(caught.value)


def test_a_folder_of_something_else(tmp_path: Path):
    save(tmp_path / "a.png")
    with pytest.raises(BadInputError, match="no captions"):
        read_captions(str(tmp_path))
    with pytest.raises(BadInputError, match="no picture with a caption"):
        read_captions(f"folder:{tmp_path}")


def test_splitting_by_hash():
    names = [f"{number}.jpg" for number in range(4000)]
    splits = split_by_hash(names)
    counts = Counter(splits.values())
    assert 0.88 < counts["train"] / 4000 < 0.92
    assert 0.04 < counts["dev"] / 4000 < 0.06
    assert all(split == splits[name] for name, split in split_by_hash(names[::-2]).items())  # whatever else is there
    assert Counter(split_by_hash(names[:3]).values()) == {"train": 1, "dev": 1, "test": 1}
    assert split_by_hash(["x"]).keys() == {"x"}


def test_the_fingerprint_is_of_the_content_only(tmp_path: Path):
    first, second = (read_captions(f"flickr8k:{flickr8k(tmp_path / name)}") for name in "xy")
    assert first.fingerprint == second.fingerprint
    other = read_captions(f"flickr8k:{flickr8k(tmp_path / 'z', TOKENS.replace('black', 'red'))}")
    assert other.fingerprint != first.fingerprint
    (tmp_path / "x/Flickr_8k.devImages.txt").write_text("c.jpg")
    (tmp_path / "x/Flickr_8k.testImages.txt").write_text("b.jpg")
    assert read_captions(f"flickr8k:{tmp_path / 'x'}").fingerprint != first.fingerprint


@pytest.mark.shared
def test_the_real_flickr8k(shared_data: Path):
    data = read_captions(str(shared_data / "flickr8k"))
    assert Counter(picture.split for picture in data.pictures) == {"train": 6000, "dev": 1000}
    assert all(len(picture.captions) == 5 for picture in data.pictures)
    assert problems(data) == []


@pytest.mark.shared
def test_the_real_coco(shared_data: Path):
    data = read_captions(str(shared_data / "coco-mini"))
    assert len(data.split("dev")) == len(data.pictures) == 79
    assert sum(len(picture.captions) for picture in data.pictures) == 395
    assert problems(data, decode=True) == []
