"""Broken clips, and run directories and work folders that somebody broke or prepared."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from functools import cache, partial
from itertools import cycle
from pathlib import Path

import av
import numpy as np
from hardening.checkpoints import Escape
from hardening.materials import nested, picture, pixels, safetensors, write, write_good
from hardening.pictures import fifo, loop
from hardening.registry import add
from PIL import Image

VIDEO = "stylize BAD good.png --video --size 16 --steps 1"
CLIP_READERS = (VIDEO, "info BAD")


@cache
def clip(kind: str) -> bytes:
    """Six frames, 64 × 48."""
    frames = [np.roll((pixels() * 255).astype(np.uint8), 3 * n, axis=1) for n in range(6)]
    images = [Image.fromarray(frame).resize((64, 48)) for frame in frames]
    buffer = io.BytesIO()
    if kind in ("gif", "webp"):
        images[0].save(buffer, kind.upper(), save_all=True, append_images=images[1:], duration=100)
        return buffer.getvalue()
    with av.open(buffer, "w", format={"mkv": "matroska"}.get(kind, kind)) as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in images:
            for packet in stream.encode(av.VideoFrame.from_image(image)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return buffer.getvalue()


@cache
def sound() -> bytes:
    """A video file without pictures."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        for packet in stream.encode(frame):
            container.mux(packet)
    return buffer.getvalue()


def meet(name: str, make: Callable[[str], object], line: str, suffix: str) -> None:
    """A clip that `make` writes under the name it is given."""
    bad = f"bad.{suffix}"
    add(name, lambda: (write_good(), make(bad)), line.replace("BAD", bad))


def file(data: bytes) -> Callable[[str], object]:
    """Writes just that."""
    return lambda name: write(name, data)


def add_clips() -> None:
    """Cut clips, and what is none."""
    readers = cycle(CLIP_READERS)
    for kind in ("mp4", "mkv", "avi", "gif", "webp"):
        for part in (0, 1, 2, 4) if kind in ("mkv", "avi") else (0, 1, 2, 4, 6):
            data = clip(kind)
            meet(f"{kind} of {part} eighths", file(data[: len(data) * part // 8]), VIDEO, kind)
    whole = clip("mp4")
    strangers = {
        "sound": sound(),
        "a page": b"<html>404</html>",
        "a playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "a list of files": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "a description of a stream": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        "a text": b"frames\n" * 100,
        "zeros": bytes(5000),
        "noise": bytes(range(256)) * 30,
        "a single picture": picture(),
        "a single gif": picture("gif"),
        "a pickle": pickle.dumps(Escape()),
        "no index": whole.replace(b"moov", b"free"),
        "no pictures in it": whole[: whole.index(b"mdat") + 4].ljust(whole.index(b"moov") - 4, b"\0")
        + whole[whole.index(b"moov") - 4 :],
        "boxes of 2³² bytes": whole[:4].replace(whole[:4], b"\xff\xff\xff\xff") + whole[4:],
    }
    for name, data in strangers.items():
        meet(f"clip of {name}", file(data), next(readers) if "single" not in name else VIDEO, "mp4")
    for name, make in {
        "a pipe": fifo,
        "an endless device": lambda path: os.symlink("/dev/zero", path),
        "no file": lambda path: None,
        "a folder of nothing": os.mkdir,
        "a loop of links": loop,
        "a broken link": lambda path: os.symlink("nowhere", path),
    }.items():
        meet(f"clip that is {name}", make, VIDEO, "mp4")
    for name, make in {
        "half a picture": lambda path: write(path, picture()[:99]),
        "a pipe": fifo,
        "a page": lambda path: write(path, b"<html>"),
        "an endless device": lambda path: os.symlink("/dev/zero", path),
        "a broken link": lambda path: os.symlink("nowhere", path),
        "a picture of another size": lambda path: Image.new("RGB", (9, 9)).save(path),
        "a number twice": lambda path: write(path.replace("2.png", "1.jpg"), picture("jpg")),
    }.items():
        made = partial(_frames, make)
        add(f"frames with {name}", made, VIDEO.replace("BAD", "frames"))
    add("frames with a name of 5000 letters", write_good, VIDEO.replace("BAD", "a" * 5000 + ".mp4"))
    for name, text in {
        "a list of files": "ffconcat version 1.0\nfile secret.mp4\n",
        "a playlist": "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    }.items():
        for suffix in ("mp4", "m3u8"):
            make = partial(_beside_a_clip, f"bad.{suffix}", text)
            add(f"clip that is {name} with a real one, as {suffix}", make, VIDEO.replace("BAD", f"bad.{suffix}"))
    for name in ("concat:secret.mp4", "subfile,,start,0,end,0,,:secret.mp4", "http:secret.mp4"):
        make = partial(_beside_a_clip, name, "no clip")
        add(f"clip with a name like an address: {name.split(':')[0]}", make, VIDEO.replace("BAD", name))
    add("a clip from a link", write_good, VIDEO.replace("BAD", "http://localhost:9/a.mp4"))
    add("a clip from a protocol", write_good, VIDEO.replace("BAD", "concat:/etc/passwd"))


def _frames(make: Callable[[str], object]) -> None:
    write_good()
    write_good("frames/1.png")
    make("frames/2.png")


def _beside_a_clip(name: str, text: str) -> None:
    """What must not be able to speak of the clip beside it."""
    write_good()
    write("secret.mp4", clip("mp4"))
    write(name, text)


def add_work_folders() -> None:
    """Beside a clip's output lies something that is no work to be gone on with."""
    for name, text in {
        "nothing": "",
        "half of it": '{"a": ',
        "a list": "[1]",
        "a number": "1",
        "brackets": nested(100_000),
        "NaN": "NaN",
        "other work": '{"a": 1}',
        "zeros": "\0" * 100,
    }.items():

        def make(text: str = text) -> None:
            write_good()
            write("clip.gif", clip("gif"))
            write("out.gif.frames/manifest.json", text)

        add(f"work folder with {name}", make, "stylize clip.gif good.png --video --size 16 --steps 1 -o out.gif")

    for name in ("000001.png", "manifest.json", "deep/down"):

        def link(name: str = name) -> None:
            write_good()
            write("clip.gif", clip("gif"))
            Path("out.gif.frames", name).parent.mkdir(parents=True)
            os.symlink(os.path.abspath("nowhere"), f"out.gif.frames/{name}")

        line = "stylize clip.gif good.png --video --size 16 --steps 1 -o out.gif"
        add(f"work folder with a link for {name}", link, line, says="is a link")


def run(**files: bytes | str | Callable[[str], object]) -> Callable[[], None]:
    """A run directory that holds these; ``__`` stands for a dot."""

    def make() -> None:
        for number in range(2):
            write(f"set/{number}.png", picture(seed=number))
        for name, content in files.items():
            path = f"run/{name.replace('__', '.')}"
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            content(path) if callable(content) else write(path, content)

    return make


def add_runs() -> None:
    """Run directories for ``--resume`` and ``info``."""
    for name, config in {
        "nothing": "",
        "half of it": '{"data": ',
        "a list": "[]",
        "brackets": nested(100_000),
        "Latin-1": '{"ä": 1}'.encode("latin-1"),
        "zeros": bytes(50),
    }.items():
        line = "caption train --data jsonl:a.jsonl -o run --resume"
        make = run(config__json=config)
        lines = json.dumps({"image": "set/0.png", "captions": ["a"]}) + "\n"
        add(f"run whose config is {name}", partial(_and_lines, make, lines), line, listed=True)
    add("run without anything", run(a__txt="a"), "info run")
    add("run that is a link to nowhere", lambda: os.symlink("nowhere", "run"), "info run")
    for name, content in {
        "a pickle": pickle.dumps(Escape()),
        "a header of 2⁶³": safetensors({}, b"", 2**63),
        "nothing": b"",
        "a broken record": safetensors({"__metadata__": {"cvtool": nested(100_000)}}),
        "a record of another kind": safetensors({"__metadata__": {"cvtool": "[]"}}),
        "no record": safetensors({}),
    }.items():
        add(f"run whose best is {name}", run(best__safetensors=content), "info run")
    add("run whose best is a pipe", run(best__safetensors=fifo), "info run")
    add("run whose best is a folder", run(best__safetensors=os.mkdir), "info run")
    add("run by a name of 5000 letters", write_good, "info " + "a" * 5000 + "/run")
    for line in (
        "gan train -q --data folder:set",
        "caption train --data a.jsonl",
        "stylize train-instant --content set",
    ):
        make = partial(_and_lines, run(), json.dumps({"image": "set/0.png", "captions": ["a"]}))
        more = " --styles set" if "instant" in line else ""
        add(
            f"run directory that is a file: {line}",
            partial(_and_file, make),
            f"{line}{more} -o run",
            code=1,
            listed=True,
        )
        add(f"run directory that is not there: {line}", make, f"{line}{more} -o nowhere --resume", listed=True)


def _and_lines(make: Callable[[], object], lines: str) -> None:
    make()
    write("a.jsonl", lines)


def _and_file(make: Callable[[], object]) -> None:
    make()
    write("run", b"mine")


for each in (add_clips, add_work_folders, add_runs):
    each()
