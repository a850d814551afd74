"""Broken and malicious JSON, XML and HDF5 around captions and boxes, by every command line that reads it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from itertools import cycle

import h5py
import numpy as np
from hardening.materials import nested, picture, write, write_good
from hardening.pictures import fifo, loop
from hardening.registry import WRONG_USAGE, add

DATA_COMMANDS = (
    "caption train -o run --epochs 1 --data SPEC",
    "caption features -o features.h5 --data SPEC",
    "caption evaluate --data SPEC",
)
_commands = cycle(DATA_COMMANDS)
DEEP = nested(200_000)


def meet(name: str, make: Callable[[], object], spec: str, *, code: int = 3) -> None:
    """A data set, by one of the commands in turn; ``good.png`` lies in the folder."""
    line = next(_commands)
    add(name, lambda: (write_good(), make()), line.replace("SPEC", spec), code=code, listed=True)


def broken_json() -> dict[str, str | bytes]:
    """What is no JSON, or more than JSON."""
    return {
        "nothing": "",
        "blanks": " \n\n ",
        "200 000 brackets": DEEP,
        "200 000 open brackets": "[" * 200_000,
        "100 000 objects": nested(100_000, '{"a":', "}", "1"),
        "a number": "7",
        "a text": '"x"',
        "null": "null",
        "NaN": "NaN",
        "Infinity": '{"images": Infinity, "annotations": -Infinity}',
        "a number of 10 000 digits": "9" * 10_000,
        "a float beyond all": "1e99999",
        "half a pair": '{"images": "\\ud800"}',
        "Latin-1": '{"images": "é"}'.encode("latin-1"),
        "UTF-16": "{}".encode("utf-16"),
        "zeros": bytes(1000),
        "a picture": picture(),
        "comments": '// no\n{"images": []}',
        "a comma too many": '{"images": [],}',
        "half a file": '{"images": [{"file_name": "good.png", "id"',
    }


def add_documents() -> None:
    """The same nonsense wherever a JSON document is read."""
    places = {
        "coco": ("annotations/captions_train2017.json", "coco:."),
        "karpathy": ("dataset_a.json", "karpathy:dataset_a.json"),
        "jsonl": ("a.jsonl", "jsonl:a.jsonl"),
        "cs231n": ("coco2014_vocab.json", "cs231n:."),
    }
    for kind, (path, spec) in places.items():
        for name, text in broken_json().items():
            meet(f"{kind} of {name}", partial(write, path, text), spec)
    for name, text in broken_json().items():
        make = partial(write, "annotations/instances_a.json", text)
        line = "saliency good.png --evaluate --boxes coco:."
        add(f"boxes of {name}", lambda make=make: (write_good(), make()), line)
        make = partial(write, "splits.json", text)
        line = "caption train -o run --data jsonl:good.jsonl --split-file splits.json"
        add(f"splits of {name}", lambda make=make: (_good_lines(), make()), line, listed=True)
        for option, other in (("references", "hypotheses"), ("hypotheses", "references")):
            make = partial(write, "bad.json", text)
            line = f"caption evaluate --{option} bad.json --{other} good.jsonl"
            add(f"{option} of {name}", lambda make=make: (_good_lines(), make()), line)


def _good_lines() -> None:
    write_good()
    write("good.jsonl", json.dumps({"image": "good.png", "captions": ["a picture"]}) + "\n")


def add_lines() -> None:
    """JSON lines that are JSON, but none of captions."""
    lines: dict[str, object] = {
        "a list": [],
        "no picture": {"captions": ["a"]},
        "no captions": {"image": "good.png"},
        "a number for a picture": {"image": 1, "captions": ["a"]},
        "a number for captions": {"image": "good.png", "captions": 1},
        "numbers for captions": {"image": "good.png", "captions": [1]},
        "an empty caption": {"image": "good.png", "captions": ["  "]},
        "a caption of signs": {"image": "good.png", "captions": ["!!! ..."]},
        "a caption of a million letters": {"image": "good.png", "captions": ["a" * 10**6]},
        "a caption of half a pair": {"image": "good.png", "captions": ["\ud800"]},
        "a caption with an escape": {"image": "no\x1b[2J.png", "captions": ["\x1b[2J"]},
        "a missing picture": {"image": "nowhere.png", "captions": ["a"]},
        "a picture in an unknown split": {"image": "good.png", "captions": ["a"], "split": "all"},
        "a list for a split": {"image": "good.png", "captions": ["a"], "split": [1]},
        "a folder for a picture": {"image": ".", "captions": ["a"]},
        "a device for a picture": {"image": "/dev/zero", "captions": ["a"]},
        "a text for a picture": {"image": "/etc/passwd", "captions": ["a"]},
        "a way up": {"image": "../../../../etc/passwd", "captions": ["a"]},
        "a link for a picture": {"image": "http://localhost/a.png", "captions": ["a"]},
        "a name with NUL": {"image": "a\0b.png", "captions": ["a"]},
        "a name of half a pair": {"image": "\udc80\ud800.png", "captions": ["a"]},
        "a name of 5000 letters": {"image": "a" * 5000, "captions": ["a"]},
        "a name with a line break": {"image": "a\ncvtool: error: forged", "captions": ["a"]},
    }
    for name, value in lines.items():
        meet(f"jsonl with {name}", partial(write, "a.jsonl", json.dumps(value) + "\n"), "jsonl:a.jsonl")
    twice = '{"image": "good.png", "image": "b.png", "captions": ["a"]}\n'
    meet("jsonl with a key twice", partial(write, "a.jsonl", twice), "jsonl:a.jsonl")
    meet("jsonl with a picture twice", lambda: (_good_lines(), _doubled("good.jsonl")), "jsonl:good.jsonl")
    for name, make in {"a pipe": fifo, "a folder": os.mkdir, "a loop of links": loop}.items():
        meet(f"jsonl that is {name}", partial(make, "a.jsonl"), "jsonl:a.jsonl")
    meet("jsonl that is an endless device", lambda: None, "jsonl:/dev/zero")
    for name, make in {"a pipe": fifo, "half a picture": lambda path: write(path, picture()[:100])}.items():
        line = json.dumps({"image": "bad.png", "captions": ["a picture"]})
        meet(f"jsonl with {name}", lambda make=make, line=line: (make("bad.png"), write("a.jsonl", line)), "a.jsonl")


def _doubled(path: str) -> None:
    with open(path, encoding="utf-8") as file:
        text = file.read()
    write(path, text * 2)


def add_structures() -> None:
    """COCO's and Karpathy's JSON with the wrong things in the right places."""
    image, caption = {"id": 1, "file_name": "good.png"}, {"image_id": 1, "caption": "a"}
    documents: dict[str, object] = {
        "no images": {"annotations": [caption]},
        "no captions": {"images": [image]},
        "images that are a number": {"images": 1, "annotations": []},
        "an image that is a list": {"images": [[]], "annotations": []},
        "ids that are lists": {"images": [{**image, "id": []}], "annotations": []},
        "ids that are objects": {"images": [image], "annotations": [{**caption, "image_id": {}}]},
        "an id twice": {"images": [image, image], "annotations": []},
        "an id of nobody": {"images": [image], "annotations": [{**caption, "image_id": 2}]},
        "a name that is null": {"images": [{**image, "file_name": None}], "annotations": []},
        "a caption that is an object": {"images": [image], "annotations": [{**caption, "caption": {}}]},
        "an id of NaN": {"images": [{**image, "id": float("nan")}], "annotations": [caption]},
        "a name that leads up": {
            "images": [{**image, "file_name": "../../../../etc/passwd"}],
            "annotations": [caption],
        },
        "a name with NUL": {"images": [{**image, "file_name": "a\0.png"}], "annotations": [caption]},
    }
    for name, document in documents.items():
        make = partial(write, "annotations/captions_train.json", json.dumps(document))
        meet(f"coco with {name}", make, "coco:.")
    entry = {"filename": "good.png", "split": "train", "sentences": [{"raw": "a"}]}
    for name, change in {
        "a split that is a list": {"split": [1]},
        "no sentences": {"sentences": None},
        "a sentence that is a text": {"sentences": ["a"]},
        "a path that leads up": {"filepath": "../../../etc", "filename": "passwd"},
        "a name with NUL": {"filename": "a\0.png"},
        "a name of 5000 letters": {"filename": "a" * 5000},
    }.items():
        text = json.dumps({"images": [{**entry, **change}]})
        meet(f"karpathy with {name}", partial(write, "dataset_a.json", text), "karpathy:dataset_a.json")


def add_flickr8k() -> None:
    """Token files."""
    for name, text in {
        "nothing": "",
        "no tabs": "good.png#0 a\n" * 30,
        "numbers that are none": "good.png#x\ta\n",
        "zeros": bytes(500),
        "UTF-16": "good.png#0\ta".encode("utf-16"),
        "Latin-1": "good.png#0\té".encode("latin-1"),
        "a number of 5000 digits": "good.png#" + "9" * 5000 + "\ta\n" + "good.png#²\ta\n",
        "a caption twice": "good.png#0\ta\ngood.png#0\tb\n",
        "a way up": "../../../etc/passwd#0\ta\n",
    }.items():
        meet(f"flickr8k of {name}", partial(write, "Flickr8k.token.txt", text), "flickr8k:.")
    for name, text in {
        "NUL": "image,caption\na\0,b\n",
        "an open quote": 'image,caption\n"a,b\n' + "x" * 200_000,
    }.items():
        meet(f"flickr8k table with {name}", partial(write, "captions.txt", text), "flickr8k:.")


def add_cs231n() -> None:
    """The assignment's files, one of them wrong."""
    words = ["<NULL>", "<START>", "<END>", "<UNK>", "a"]
    rows = np.array([[1, 4, 2]], np.int32)

    def files(**changes: Callable[[h5py.File], object]) -> Callable[[], None]:
        def make() -> None:
            write("coco2014_vocab.json", json.dumps({"idx_to_word": words}))
            with h5py.File("coco2014_captions.h5", "w") as file:
                for part in ("train", "val"):
                    file[f"{part}_captions"], file[f"{part}_image_idxs"] = rows, np.array([0])
                changes.get("captions", lambda file: None)(file)
            for part in ("train", "val"):
                with h5py.File(f"{part}2014_vgg16_fc7_pca.h5", "w") as file:
                    file["features"] = np.ones((1, 8), np.float32)
                    changes.get("features", lambda file: None)(file)

        return make

    def put(name: str, value: object) -> Callable[[h5py.File], object]:
        def change(file: h5py.File) -> None:
            del file[name]
            file[name] = value

        return change

    def big(name: str, shape: tuple[int, ...], kind: str) -> Callable[[h5py.File], object]:
        def change(file: h5py.File) -> None:
            del file[name]
            file.create_dataset(name, shape, kind, chunks=(1,) * len(shape))

        return change

    captions = {
        "words of 2³¹": put("train_captions", np.full((1, 3), 2**31 - 1, np.int64)),
        "words below nothing": put("train_captions", rows - 10),
        "pictures that are not there": put("train_image_idxs", np.array([2**40])),
        "pictures that are texts": put("train_image_idxs", "x"),
        "an external link": put("train_captions", h5py.ExternalLink("/etc/passwd", "x")),
        "a soft link": put("train_captions", h5py.SoftLink("/val_captions")),
        "2⁴⁰ captions": big("train_captions", (2**40, 17), "i4"),
        "floats": put("train_captions", rows.astype(np.float32)),
    }
    for name, change in captions.items():
        meet(f"cs231n with {name}", files(captions=change), "cs231n:.")
    for name, change in {
        "features elsewhere": put("features", h5py.ExternalLink("/etc/passwd", "x")),
        "features that are texts": put("features", "x"),
        "no features": lambda file: file.__delitem__("features"),
    }.items():
        meet(f"cs231n with {name}", files(features=change), "cs231n:.")


def add_kept_features() -> None:
    """``--features`` that are none."""

    def lines(make: Callable[[str], object]) -> Callable[[], object]:
        return lambda: (_good_lines(), make("f.h5"))

    def h5(make: Callable[[h5py.File], object]) -> Callable[[str], None]:
        def made(path: str) -> None:
            with h5py.File(path, "w") as file:
                make(file)

        return made

    def header(**changes: object) -> Callable[[str], None]:
        def make(file: h5py.File) -> None:
            texts = {"format": "cvtool caption features", "model": "efficientnet-lite0", "fingerprint": "0" * 64}
            numbers = {"format_version": 1, "channels": 8, "places": np.array([1, 1]), "count": np.int64(1)}
            for name, value in {**texts, **numbers, **changes}.items():
                if isinstance(value, str):
                    kind = h5py.string_dtype("utf-8", max(1, len(value)))
                    file.attrs.create(name, value.encode(), dtype=kind)
                else:
                    file.attrs[name] = value

        return h5(make)

    for name, make in {
        "nothing": lambda path: write(path, b""),
        "a text": lambda path: write(path, b"features\n"),
        "an empty file of HDF5": h5(lambda file: None),
        "another HDF5 file": h5(lambda file: file.__setitem__("x", 1)),
        "no features": header(),
        "a version to come": header(format_version=99),
        "a count of 2⁶²": header(count=np.int64(2**62)),
        "a count below nothing": header(count=np.int64(-1)),
        "channels of 2⁴⁰": header(channels=2**40),
        "channels that are NaN": header(channels=np.nan),
        "places of 2³¹": header(places=np.array([2**31, 2**31])),
        "a pipe": fifo,
        "a folder": os.mkdir,
        "an endless device": lambda path: os.symlink("/dev/zero", path),
    }.items():
        add(f"features that are {name}", lines(make), "caption train --data good.jsonl --features f.h5 -o run")


def add_boxes() -> None:
    """Pascal VOC's XML, and COCO's boxes that are none."""
    bomb = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
    laugh = f'<!DOCTYPE a [<!ENTITY l0 "ha">{bomb}]><annotation><object>&l9;</object></annotation>'
    outside = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object>&x;</object></annotation>'
    size = "<size><width>{}</width><height>{}</height></size>"
    for name, text in {
        "nothing": "",
        "laughter": laugh,
        "an entity elsewhere": outside,
        "a text": "boxes",
        "half of it": "<annotation><object>",
        "no size": "<annotation/>",
        "no height": f"<annotation>{size.format(10, 0)}<object><name>a</name><bndbox><xmin>1</xmin>",
        "a size of letters": f"<annotation>{size.format('a', 'b')}</annotation>",
        "an unknown encoding": "<?xml version='1.0' encoding='none'?><annotation/>",
        "100 000 elements in each other": nested(100_000, "<a>", "</a>"),
        "Latin-1": "<é/>".encode("latin-1"),
    }.items():
        make = partial(write, "Annotations/good.xml", text)
        add(
            f"boxes of VOC: {name}",
            lambda make=make: (write_good(), make()),
            "saliency good.png --evaluate --boxes voc:.",
        )
    box = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}
    whole = {
        "categories": [{"id": 1, "name": "a"}],
        "images": [{"id": 1, "file_name": "good.png", "width": 40, "height": 30}],
        "annotations": [box],
    }
    for name, change in {
        "a box of three numbers": {"annotations": [{**box, "bbox": [0, 0, 1]}]},
        "a box of a number beyond all": {"annotations": [{**box, "bbox": [0, 0, 10**400, 1]}]},
        "a box of letters": {"annotations": [{**box, "bbox": "abcd"}]},
        "a picture without width": {"images": [{**whole["images"][0], "width": 0}]},
        "ids that are lists": {"categories": [{"id": [], "name": "a"}]},
        "a name that is a number": {"images": [{**whole["images"][0], "file_name": 1}]},
        "a list": {"categories": 1},
    }.items():
        make = partial(write, "instances_a.json", json.dumps({**whole, **change}))
        add(
            f"boxes of COCO: {name}",
            lambda make=make: (write_good(), make()),
            "saliency good.png --evaluate --boxes coco:.",
        )
    for name, spec in {"a kind that is none": "dogs:.", "nothing": "coco:"}.items():
        add(f"boxes of {name}, named", write_good, f"saliency good.png --evaluate --boxes {spec}", code=WRONG_USAGE)
    add("boxes in a folder that is none", write_good, "saliency good.png --evaluate --boxes coco:nowhere")
    pipe = "annotations/instances_a.json"
    add(
        "boxes in a pipe",
        lambda: (write_good(), os.mkdir("annotations"), fifo(pipe)),
        "saliency good.png --evaluate --boxes coco:.",
    )


def add_specs() -> None:
    """SPECs that name nothing."""
    for spec, code in {
        "coco:": WRONG_USAGE,
        "cooc:x": WRONG_USAGE,
        "coco:nowhere": 3,
        "": 3,
        "jsonl:C:\\captions.jsonl": 3,
        "C:\\captions": 3,
        "folder:C:\\x": 3,
        "jsonl:" + "a" * 5000: 3,
        "folder:" + "a" * 5000: 3,
        "karpathy:" + "a" * 5000: 3,
        "flickr8k:" + "a" * 5000: 3,
        "b" * 5000: 3,
        "folder:/dev/zero": 3,
        "/dev/zero": 3,
        "jsonl:a\nb": 3,
    }.items():
        shown = spec if len(spec) < 100 else f"{spec[:10]}… of {len(spec)} letters"
        words = [spec if word == "SPEC" else word for word in next(_commands).split()]
        add(f"captions by {shown!r}", lambda: None, words, code=code)


for each in (
    *(add_documents, add_lines, add_structures, add_flickr8k, add_cs231n),
    *(add_kept_features, add_boxes, add_specs),
):
    each()
