"""Captions in files: every form, names that differ between two files, and every way to be broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvtool.caption.metrics import CaptionFile, matched, read_caption_file, score_texts
from cvtool.errors import BadInputError


def written(folder: Path, content: str | bytes, name: str = "captions.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lines(*rows: object) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def file(captions: dict[str, tuple[str, ...]], **other_names: str) -> CaptionFile:
    return CaptionFile("file", captions, {name.replace("_", "."): key for name, key in other_names.items()})


COCO = {
    "info": {"year": 2017},
    "images": [
        {"id": 139, "file_name": "000000000139.jpg"},
        {"id": 285, "file_name": "000000000285.jpg"},
        {"id": 632, "file_name": "000000000632.jpg"},
    ],
    "annotations": [
        {"image_id": 285, "id": 1, "caption": "A big burly grizzly bear."},
        {"image_id": 139, "id": 2, "caption": "A room with chairs."},
        {"image_id": 285, "id": 3, "caption": "The large brown bear.\n"},
    ],
}


class TestForms:
    BOTH = {"a.jpg": ("A dog.", "Ein Hündchen läuft."), "b.jpg": ("A cat.",)}  # noqa: RUF012

    ROWS = ({"image": "a.jpg", "captions": BOTH["a.jpg"]}, {"image": "b.jpg", "caption": "A cat."})

    @pytest.mark.parametrize(
        "content",
        [
            lines({"image": "a.jpg", "captions": BOTH["a.jpg"]}, {"image": "b.jpg", "captions": ["A cat."]}),
            lines(
                {"image": "a.jpg", "caption": "A dog."},
                {"image": "b.jpg", "caption": "A cat."},
                {"image": "a.jpg", "caption": "Ein Hündchen läuft."},
            ),
            "\n" + lines({"id": "a.jpg", "captions": BOTH["a.jpg"]}, {"input": "b.jpg", "caption": "A cat."}) + "\n\n",
            "\ufeff" + lines({"image": "a.jpg", "id": 7, "captions": BOTH["a.jpg"]}).replace("\n", "\r\n")
            + json.dumps({"image": "b.jpg", "captions": ["A cat."]}),
            json.dumps(ROWS),
            json.dumps(ROWS, indent=2),
        ],
        ids=["lists", "one each", "other keys", "marked, CRLF, no end", "list", "list over lines"],
    )  # fmt: skip
    def test_lines_and_lists(self, tmp_path: Path, content: str):
        path = written(tmp_path, content)
        assert read_caption_file(path) == CaptionFile(str(path), self.BOTH)

    def test_a_single_row_may_go_over_lines(self, tmp_path: Path):
        path = written(tmp_path, json.dumps({"image": "a.jpg", "captions": ["A dog."]}, indent=2))
        assert read_caption_file(path).captions == {"a.jpg": ("A dog.",)}

    def test_a_line_separator_inside_a_caption_is_no_new_line(self, tmp_path: Path):
        path = written(tmp_path, lines({"image": "a", "caption": "one\u2028two"}, {"image": "b", "caption": ""}))
        assert read_caption_file(path).captions == {"a": ("one\u2028two",), "b": ("",)}

    def test_results_of_coco(self, tmp_path: Path):
        rows = [{"image_id": 285, "caption": "a bear"}, {"image_id": 139, "caption": "a room"}]
        path = written(tmp_path, json.dumps(rows))
        assert read_caption_file(path).captions == {"285": ("a bear",), "139": ("a room",)}

    def test_captions_of_coco(self, tmp_path: Path):
        read = read_caption_file(written(tmp_path, json.dumps(COCO)))
        assert read.captions == {
            "285": ("A big burly grizzly bear.", "The large brown bear.\n"),
            "139": ("A room with chairs.",),
        }
        assert read.other_names == {"000000000285.jpg": "285", "000000000139.jpg": "139"}

    def test_what_describe_writes(self, tmp_path: Path):
        rows = (
            {"command": "caption describe", "input": "in/a.jpg", "output": None, "caption": "a dog", "seed": 0},
            {"input": "in/broken.jpg", "error": "not a picture"},
        )
        assert read_caption_file(written(tmp_path, lines(*rows))).captions == {"in/a.jpg": ("a dog",)}

    @pytest.mark.shared
    def test_real_captions_of_coco(self, shared_data: Path):
        files = sorted((shared_data / "coco-mini" / "annotations").glob("captions_*.json"))
        if not files:
            pytest.skip("no captions in coco-mini")
        read = read_caption_file(files[0])
        document = json.loads(files[0].read_bytes())
        assert sum(map(len, read.captions.values())) == len(document["annotations"])
        assert set(read.other_names.values()) == set(read.captions)


class TestBroken:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "is empty"),
            (" \n\n", "is empty"),
            (b'{"image": "a", "caption": "ok"}\n{"image": "b", "caption": "caf\xe9"}\n', "Line 2 of .* UTF-8"),
            ("PNG", "Line 1 of .* no JSON .*column 1"),
            (lines({"image": "a", "caption": "x"}) + "{\n", "Line 2 of .* no JSON"),
            (lines({"image": "a", "caption": "x"})[:-5], "Line 1 of .* no JSON"),
            ('[{"image": "a", "caption": "x"},', "broken JSON"),
            ('{\n  "annotations": [', "broken JSON .*line 2"),
            ("[" * 100_000, "nested too deeply|broken JSON"),
            ('{"image": "a", "caption": "x"}\n' + '{"a":' * 100_000 + "1", "Line 2 of .* (nested too deeply|no JSON)"),
            ("[]", "holds no captions"),
            ("17", "Row 1 of .* no object"),
            ("{}", "Row 1 of .* names no picture"),
            (lines({"image": "a", "caption": "x"}, ["b", "y"]), "Line 2 of .* no object"),
            (lines({"caption": "x"}), "names no picture"),
            (lines({"image": None, "caption": "x"}), "no name or number under 'image'"),
            (lines({"image": True, "caption": "x"}), "no name or number under 'image'"),
            (lines({"image_id": 1.5, "caption": "x"}), "no name or number under 'image_id'"),
            (lines({"image": " ", "caption": "x"}), "no name or number under 'image'"),
            (lines({"image": "a"}), "has no caption"),
            (lines({"image": "a", "caption": None}), "caption that is no text"),
            (lines({"image": "a", "captions": "x"}), "caption that is no text"),
            (lines({"image": "a", "captions": ["x", 3]}), "caption that is no text"),
            (lines({"image": "a", "captions": []}), "empty list of captions"),
            ('{"image": "a", "caption": "\\ud800"}', "half a character"),
            ('{"image": "\\udfff", "caption": "x"}', "half a character"),
            (lines(*[{"image": "a", "captions": ["x"]}] * 2), "Line 2 of .* names the picture 'a' again"),
            (lines({"image": "a", "caption": "x"}, {"image": "a", "captions": ["y"]}), "Line 2 of .* 'a' again"),
            (lines({"image": "a", "captions": ["x"]}, {"image": "a", "caption": "y"}), "Line 2 of .* 'a' again"),
            (json.dumps([{"image_id": 1}]), "Row 1 of .* no caption"),
            (json.dumps({**COCO, "annotations": {}}), "no list"),
            (json.dumps({**COCO, "images": {}}), "no list"),
            (json.dumps({**COCO, "annotations": []}), "holds no captions"),
            (json.dumps({**COCO, "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}]}), "are no captions"),
            (json.dumps({**COCO, "annotations": [COCO["annotations"][0], 3]}), "Annotation 2 of .* no object"),
            (json.dumps({**COCO, "images": [{"id": 139}]}), "Image 1 of .* 'file_name'"),
            (json.dumps({**COCO, "images": [{"file_name": "x.jpg"}]}), "Image 1 of .* names no picture"),
        ],
    )  # fmt: skip
    def test_one_line_that_says_where(self, tmp_path: Path, content: str | bytes, message: str):
        path = written(tmp_path, content)
        with pytest.raises(BadInputError, match=message) as caught:
            read_caption_file(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_file_that_is_not_there(self, tmp_path: Path):
        with pytest.raises(BadInputError, match="no such file"):
            read_caption_file(tmp_path / "absent.jsonl")

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=60) | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(["image", "captions", "caption", "annotations", "images", "image_id", "id", "file_name"]),
            inner, max_size=4),
        max_leaves=8,
    ).map(lambda document: json.dumps(document).encode()))  # fmt: skip
    def test_anything_else_is_refused_or_read(self, tmp_path_factory: pytest.TempPathFactory, content: bytes):
        path = written(tmp_path_factory.getbasetemp(), content, "anything")
        try:
            read = read_caption_file(path)
        except BadInputError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert all(isinstance(text, str) for texts in read.captions.values() for text in texts)


class TestMatched:
    def test_equal_names(self):
        references = {"b": ("x", "y"), "a": ("z",), "c": ("w",)}
        assert matched(file({"a": ("1",), "b": ("2",)}), file(references)) == ({"a": "1", "b": "2"}, references)

    @pytest.mark.parametrize("name", ["a.jpg", "in/a.jpg", "/far/in/a.jpg", "C:\\in\\a.jpg", "a", "out/a.png"])
    def test_other_folders_and_suffixes(self, name: str):
        assert matched(file({name: ("1",)}), file({"a.jpg": ("x",), "b.jpg": ("y",)}))[0] == {"a.jpg": "1"}

    def test_pictures_of_coco_by_number_and_by_file(self):
        references = file({"139": ("x",), "285": ("y",)}, **{"000000000139_jpg": "139", "000000000285_jpg": "285"})
        hypotheses = file({"val2017/000000000139.jpg": ("1",), "285": ("2",)})
        assert matched(hypotheses, references)[0] == {"139": "1", "285": "2"}

    def test_an_equal_name_comes_before_a_similar_one(self):
        references = file({"a/x.jpg": ("1",), "b/x.jpg": ("2",)})
        assert matched(file({"b/x.jpg": ("1",)}), references)[0] == {"b/x.jpg": "1"}
        with pytest.raises(BadInputError, match=r"'c/x\.jpg', which could mean 'a/x\.jpg' or 'b/x\.jpg'"):
            matched(file({"c/x.jpg": ("1",)}), references)

    def test_the_file_name_comes_before_the_stem(self):
        assert matched(file({"in/x.png": ("1",)}), file({"x.jpg": ("a",), "x.png": ("b",)}))[0] == {"x.png": "1"}

    @pytest.mark.parametrize(
        ("hypotheses", "references", "message"),
        [
            ({"a": ("1", "2")}, {"a": ("x",)}, "several captions for the picture 'a'"),
            ({"a.jpg": ("1",), "in/a.jpg": ("2",)}, {"a.jpg": ("x",)}, "several captions for the picture 'in/a.jpg'"),
            ({"b": ("1",)}, {"a": ("x",)}, "'b', which is not in 'file'. Name the pictures as there, like 'a'"),
            ({"a": ("1",)}, {"a": ("x", " ")}, "empty caption for the picture 'a'"),
        ],
    )
    def test_what_does_not_fit(self, hypotheses: dict, references: dict, message: str):
        with pytest.raises(BadInputError, match=message):
            matched(file(hypotheses), file(references))

    def test_an_empty_reference_of_a_picture_without_caption_does_no_harm(self):
        assert matched(file({"a": ("1",)}), file({"a": ("x",), "b": ("",)}))[0] == {"a": "1"}

    def test_from_files_to_scores(self, tmp_path: Path):
        rows = (
            {"input": "in/000000000285.jpg", "caption": "a room with chairs"},
            {"input": "in/000000000139.jpg", "caption": "A room with chairs."},
        )
        hypotheses = written(tmp_path, lines(*rows))
        references = written(tmp_path, json.dumps(COCO), "captions_val2017.json")
        metrics = score_texts(*matched(read_caption_file(hypotheses), read_caption_file(references)))
        assert metrics.cider_each == {"285": 0, "139": pytest.approx(10)}
