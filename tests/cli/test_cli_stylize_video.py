"""``cvtool stylize --video`` from words to files: the command's work behind a small command of its own."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import typer
from helpers import save
from PIL import Image

from cvtool.cli.console import Console
from cvtool.cli.inputs import expand
from cvtool.cli.stylize_inputs import Styles
from cvtool.cli.stylize_video import ClipPainter, plan_clips
from cvtool.clips import open_clip
from cvtool.errors import BadInputError, CvtoolError, Interrupted, UsageError
from cvtool.stylize.options import StylizeOptions
from cvtool.stylize.video import service
from cvtool.stylize.video.options import VideoOptions
from cvtool.stylize.video.shots import Shot
from cvtool.stylize.video.work import WorkFolder


def make_gif(path: Path, frames: int = 4, color: int = 40) -> Path:
    images = [Image.new("RGB", (32, 24), (color, 10 * n, 200)) for n in range(frames)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=100, loop=0)
    return path


def make_film(path: Path, frames: int = 4) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for number in range(frames):
            levels = np.full((24, 32, 3), 40 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(levels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> dict[int, Any]:
    """Paint at once instead of by the network; what is put in here is called before that frame."""
    events: dict[int, Any] = {}

    def paint(job: service.Job, model: Any, *, reload: Any, progress: Any, stop: Any) -> service.ClipResult:
        work = WorkFolder.open(job.folder, {"clip": job.clip.sha256})
        kept = work.count(job.clip.frames)
        for number, content in enumerate(job.contents(0)):
            if work.has(number):
                continue
            events.get(number, lambda: None)()
            if stop():
                raise Interrupted("stopped")
            work.write(number, content * np.float32(0.5), {})
        height, width = job.size()
        return service.ClipResult(height, width, (Shot(0, job.clip.frames),), 12, 0.1, 0.2, 0.3, float("nan"), kept)

    monkeypatch.setattr(service, "paint_clip", paint)
    monkeypatch.setattr(ClipPainter, "model", SimpleNamespace(device="cpu"))
    return events


def run(
    *clips: Path | str, output: str | None = None, resume: Path | None = None, as_json: bool = True, size: int = 32
) -> None:
    """What the command does with its parsed options."""
    app = typer.Typer()

    @app.command()
    def stylize(context: typer.Context) -> None:
        ClipPainter(
            context=context,
            console=Console(json=as_json),
            options=StylizeOptions(size=size),
            video=VideoOptions(),
            styles=Styles(tuple(expand(["wave.png"]))),
            rate=None,
            resume=resume,
            model_name="efficientnet-lite0",
            weights=None,
            device_name="cpu",
        ).paint_all(plan_clips([str(clip) for clip in clips], output=output, inputs=[Path("wave.png")]))

    app([], standalone_mode=False)


@pytest.fixture(autouse=True)
def place(here: Path) -> Path:
    save(here / "wave.png", (20, 40, 180))
    return here


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_clip_becomes_a_clip(here: Path, during: dict[int, Any], capfd: pytest.CaptureFixture[str]) -> None:
    run(make_film(here / "in.mp4"))
    assert names(here) == ["in-stylize.mp4", "in.mp4", "wave.png"]
    out, err = capfd.readouterr()
    (line,) = out.splitlines()
    told = json.loads(line)
    assert {k: told[k] for k in ("command", "input", "output", "frames", "fps", "shots", "flicker")} == {
        "command": "stylize",
        "input": str(here / "in.mp4"),
        "output": "in-stylize.mp4",
        "frames": 4,
        "fps": 10.0,
        "shots": [0],
        "flicker": None,
    }
    assert (told["width"], told["height"], told["steps"], told["stopped_by"]) == (32, 24, 12, "steps")
    assert "in-stylize.mp4" in err
    made = open_clip(here / "in-stylize.mp4")
    assert (made.frames, made.rate) == (4, 10)
    with av.open(str(here / "in-stylize.mp4")) as container:
        note = json.loads(container.metadata["comment"])
    assert note["command"] == "stylize"
    assert [Path(item["path"]).name for item in note["inputs"]] == ["in.mp4", "wave.png"]
    assert "in.mp4" in note["command_line"]
    assert note["options"]["frame_steps"] == VideoOptions().frame_steps


def test_kinds_of_clips_keep_their_kind(here: Path, during: dict[int, Any]) -> None:
    folder = here / "frames"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (32, 24), (9, 9, 50 * number)).save(folder / f"{number:02}.bmp")
    run(make_gif(here / "a.gif"), folder, make_film(here / "b.mkv"), make_film(here / "c.avi"))
    assert names(here / "frames-stylize") == ["00.png", "01.png", "02.png"]
    assert {"a-stylize.gif", "b-stylize.mkv", "c-stylize.mp4"} <= set(names(here))
    run(here / "a.gif", output="made/there.webm")
    assert open_clip(here / "made" / "there.webm").frames == 4
    run(here / "a.gif", output="other/")
    assert names(here / "other") == ["a-stylize.gif"]


def test_one_bad_clip_does_not_stop_the_others(
    here: Path, during: dict[int, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "bad.mp4").write_text("no film")
    with pytest.raises(BadInputError, match=r"1 of 2 inputs could not be done: .*bad.mp4"):
        run(here / "bad.mp4", make_gif(here / "a.gif"), output="out")
    assert names(here / "out") == ["a-stylize.gif"]
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert "not a clip" in lines[0]["error"]
    assert lines[1]["frames"] == 4


def test_interrupted_work_is_kept_and_gone_on_with(
    here: Path, during: dict[int, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    film = make_film(here / "in.mp4")
    during[2] = lambda: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Interrupted, match=r"2 of 4 frames are kept in 'out.mp4.frames'; the same command goes on"):
        run(film, output="out.mp4")
    assert names(here) == ["in.mp4", "out.mp4.frames", "wave.png"]
    during.clear()
    run(film, output="out.mp4", resume=Path("out.mp4.frames"))
    assert "2 of them from before" in capfd.readouterr().err
    assert names(here) == ["in.mp4", "out.mp4", "wave.png"]


def test_resume_must_name_the_work_of_this_output(here: Path, during: dict[int, Any]) -> None:
    film = make_film(here / "in.mp4")
    with pytest.raises(UsageError, match=r"does not belong to 'out.mp4'"):
        run(film, output="out.mp4", resume=Path("other.frames"))
    with pytest.raises(BadInputError, match=r"no work in 'out.mp4.frames'"):
        run(film, output="out.mp4", resume=Path("out.mp4.frames"))


def test_a_full_disk_keeps_what_is_done(here: Path, during: dict[int, Any], capfd: pytest.CaptureFixture[str]) -> None:
    def full() -> None:
        raise CvtoolError("Cannot write '000004.png': the disk is full. Free some space or choose another directory.")

    film, during[3] = make_film(here / "in.mp4"), full
    with pytest.raises(CvtoolError, match="disk is full"):
        run(film, output="out.mp4")
    assert "3 of 4 frames are kept in 'out.mp4.frames'; the same command goes on" in capfd.readouterr().err
    assert len(names(here / "out.mp4.frames")) == 4  # and the manifest


def test_other_work_in_the_way_is_refused(here: Path, during: dict[int, Any]) -> None:
    WorkFolder.open(here / "out.mp4.frames", {"clip": "another"})
    with pytest.raises(BadInputError, match="belongs to other work: clip was") as caught:
        run(make_film(here / "in.mp4"), output="out.mp4")
    assert "\n" not in str(caught.value)


def test_sound_that_is_lost_is_told(here: Path, during: dict[int, Any], capfd: pytest.CaptureFixture[str]) -> None:
    path = here / "in.mp4"
    with av.open(str(path), "w") as container:
        stream, audio = container.add_stream("libx264", rate=10), container.add_stream("aac", rate=48000)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((24, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
        block = av.AudioFrame.from_ndarray(np.zeros((2, 4096), np.float32), format="fltp", layout="stereo")
        block.sample_rate, block.pts = 48000, 0
        container.mux([*audio.encode(block), *audio.encode(None)])
    run(path, output="out.gif")
    assert "cannot hold the sound" in capfd.readouterr().err
    with av.open(str(path)) as source, av.open(str(here / "in.mkv"), "w") as target:
        streams = {each.index: target.add_stream_from_template(each) for each in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    data = (here / "in.mkv").read_bytes()
    (here / "in.mkv").write_bytes(data.replace(b"A_AAC", b"A_ZZZ"))
    run(here / "in.mkv", output="out.mp4")
    assert "no decoder; it is left out" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("clips", "output", "message"),
    [
        (["-"], None, "from stdin"),
        (["in.gif"], "-", "to stdout"),
        (["in.gif"], "in.gif", "is an input"),
        (["in.gif"], "wave.png/x.gif", "is not a folder"),
        (["in.gif"], "out.avi", "'.avi'"),
        (["in.gif"], "out.png", "'.png'"),
        (["in.gif", "b.gif"], "wave.png", "is one file"),
        (["in.gif", "sub/in.gif"], None, "to one name"),
    ],
)
def test_outputs_that_cannot_be(here: Path, clips: list[str], output: str | None, message: str) -> None:
    make_gif(here / "in.gif")
    with pytest.raises(UsageError, match=message):
        plan_clips(clips, output=output, inputs=[here / "wave.png"])


def test_what_is_wrong_with_the_network_is_told_once(
    here: Path, during: dict[int, Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(self: ClipPainter) -> None:
        raise BadInputError("'w.pth' is broken")

    monkeypatch.setattr(ClipPainter, "model", property(broken))
    with pytest.raises(BadInputError, match=r"^'w.pth' is broken$"):
        run(make_gif(here / "a.gif"), make_gif(here / "b.gif"), output="out/")
    assert capfd.readouterr() == ("", "")


def test_the_module_is_quick_to_import() -> None:
    """``--help`` must import neither torch nor what reads clips."""
    import subprocess
    import sys

    code = "import sys, cvtool.cli.stylize_video; print([m for m in ('torch', 'av', 'cv2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
