"""Clips painted by the real network: steady, resumable to the same bytes, the same by any number of processes."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from launching import until
from PIL import Image

from cvtool.clips import Clip, open_clip, read_frames
from cvtool.errors import BadInputError, CvtoolError, Interrupted, UnknownNameError, UsageError
from cvtool.images import Picture
from cvtool.models.loader import Model, load
from cvtool.progress import Step
from cvtool.stylize import color
from cvtool.stylize.options import Colors, StylizeOptions
from cvtool.stylize.service import stylize
from cvtool.stylize.video import painting
from cvtool.stylize.video.flow import warp
from cvtool.stylize.video.options import VideoOptions
from cvtool.stylize.video.service import Job, finished_frames, forget, paint_clip
from cvtool.stylize.video.shots import Shot

STYLE = np.kron(np.random.default_rng(0).random((12, 12, 3)), np.ones((6, 6, 1))).astype(np.float32)
RELOAD = partial(load, "efficientnet-lite0", device="cpu")


@pytest.fixture(scope="module")
def model() -> Model:
    return RELOAD()


def scene(seed: int, shift: int) -> np.ndarray:
    """A texture seen through a window that moves to the right: what it shows moves by exactly (−2, 0) a frame."""
    noise = np.random.default_rng(seed).random((40, 120, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return np.rint(smooth[:, 2 * shift : 2 * shift + 64] * 255).astype(np.uint8)


def make_job(folder: Path, options: StylizeOptions | None = None, shots: int = 2, alpha: bool = False) -> Job:
    """Shots of three frames each, 64 × 40 pixels."""
    where = folder / "clip"
    where.mkdir(exist_ok=True)
    for number in range(3 * shots):
        levels = scene(number // 3, number % 3)
        if alpha:
            levels = np.dstack([levels, np.where(np.arange(64) < 10, 0, 255)[None].repeat(40, 0).astype(np.uint8)])
        Image.fromarray(levels).save(where / f"{number}.png")
    options = options or StylizeOptions(size=64, steps=(5,))
    return Job(open_clip(where), (STYLE,), options, VideoOptions(frame_steps=3), None, folder / "work")


def kept(job: Job) -> list[bytes]:
    return [file.read_bytes() for file in sorted(job.folder.glob("0*.png"))]


def test_a_clip_of_two_shots(tmp_path: Path, model: Model) -> None:
    job = make_job(tmp_path)
    heard: list[Step] = []
    result = paint_clip(job, model, progress=heard.append)
    assert (result.height, result.width, result.kept) == (40, 64, 0)
    assert result.shots == (Shot(0, 3), Shot(3, 6))
    assert result.steps == 2 * 5 + 4 * 3
    assert [(step.done, step.total) for step in heard] == [(n, 6) for n in range(7)]
    assert 0 < result.flicker < 0.2
    assert all(0 < loss < 10 for loss in (result.content_loss, result.style_loss, result.tv_loss))
    frames = list(finished_frames(job))
    assert [frame.pixels.shape for frame in frames] == [(40, 64, 3)] * 6
    # The first frame of a shot is the picture that the plain service paints.
    for first in (0, 3):
        alone = stylize(scene(first // 3, 0) / np.float32(255), [STYLE], model, job.options).pixels
        assert np.abs(frames[first].pixels - alone).max() <= 0.5 / 255 + 1e-6
    forget(job)
    assert not job.folder.exists()


def test_frames_follow_the_motion(tmp_path: Path, model: Model) -> None:
    """Against frames painted by themselves: at most 0.4 of their flicker along the true motion."""
    job = make_job(tmp_path, StylizeOptions(size=64, steps=(30,)), shots=1)
    paint_clip(job, model)
    steady = [frame.pixels for frame in finished_frames(job)]
    alone = [stylize(scene(0, n) / np.float32(255), [STYLE], model, job.options).pixels for n in range(3)]

    def flicker(frames: list[np.ndarray]) -> float:
        back = np.broadcast_to(np.array([2, 0], np.float32), (40, 64, 2)).copy()  # each pixel was 2 to the right
        pairs = [(warp(frames[n - 1], back) - frames[n])[:, :-4] for n in (1, 2)]
        return float(np.mean([np.sqrt(np.square(pair).mean()) for pair in pairs]))

    assert flicker(steady) < 0.4 * flicker(alone)
    assert np.abs(steady[2] - scene(0, 2) / 255).mean() > 0.05  # painted, not copied


def test_stopped_and_gone_on_with(tmp_path: Path, model: Model) -> None:
    job = make_job(tmp_path)
    paint_clip(job, model)
    whole = kept(job)
    other = replace(job, folder=tmp_path / "other")
    for _ in range(6):  # each call is asked to stop in the middle of its second frame
        asked = 0

        def stop() -> bool:
            nonlocal asked
            asked += 1
            return asked > 8

        try:
            result = paint_clip(other, model, stop=stop)
            break
        except Interrupted:
            continue
    assert result.kept > 0
    assert kept(other) == whole


SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path[:0] = [{tests!r}, {here!r}, {folder!r}]
from test_video_service import RELOAD, make_job
from cvtool.stylize.video.service import paint_clip
paint_clip(make_job(Path({folder!r})), RELOAD())
"""


def test_killed_and_gone_on_with(tmp_path: Path, model: Model) -> None:
    script = SCRIPT.format(tests=str(Path(__file__).parents[1]), here=str(Path(__file__).parent), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script])
    work = tmp_path / "work"
    try:
        until(work / "000002.png", process)
    finally:
        process.kill()
        process.wait()
    (work / ".cvtool-0123456789abcdef.png").write_bytes(b"half a frame")
    job = make_job(tmp_path)
    there = len(kept(job))
    assert there >= 2
    result = paint_clip(job, model)
    assert result.kept == there
    once = replace(job, folder=tmp_path / "once")
    paint_clip(once, model)
    assert kept(job) == kept(once)
    forget(job)
    assert not work.exists()


def test_the_number_of_processes_changes_nothing(tmp_path: Path, model: Model) -> None:
    job = make_job(tmp_path)
    result = paint_clip(job, model)
    side_by_side = replace(job, folder=tmp_path / "two", video=replace(job.video, jobs=2))
    again = paint_clip(side_by_side, model, reload=RELOAD)
    assert again == result
    assert kept(side_by_side) == kept(job)
    # Work begun by one number of processes may be gone on with by another.
    (job.folder / "000002.png").unlink()
    assert paint_clip(replace(job, video=replace(job.video, jobs=3)), model, reload=RELOAD).kept == 5
    assert kept(side_by_side) == kept(job)


def test_what_fails_in_a_process_is_told(tmp_path: Path, model: Model) -> None:
    job = make_job(tmp_path)
    job = replace(job, video=replace(job.video, jobs=2))
    with pytest.raises(CvtoolError, match="ended unexpectedly"):
        paint_clip(job, model, reload=partial(os._exit, 9))


def test_a_clip_is_closed_when_its_painting_ends_early(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    def frames(clip: Clip, first: int, last: int | None) -> Iterator[Picture]:
        try:
            yield from read_frames(clip, first, last)
        finally:
            closed.append(clip)

    monkeypatch.setattr(painting, "read_frames", frames)
    job = make_job(tmp_path, shots=1)
    try:
        painting.paint_shot(job, Shot(0, 3), model, lambda: True)
    except Interrupted:
        assert closed == [job.clip]  # while the error, and all that it came through, is still there
    else:
        raise AssertionError("was not stopped")


def test_an_unknown_name_in_a_process_is_told(tmp_path: Path, model: Model) -> None:
    job = make_job(tmp_path)
    job = replace(job, video=replace(job.video, jobs=2))
    with pytest.raises(UnknownNameError, match=r"No model .vgg20.") as caught:
        paint_clip(job, model, reload=partial(load, "vgg20"))
    assert "vgg19" in caught.value.nearest


def test_other_work_is_refused(tmp_path: Path, model: Model) -> None:
    job = make_job(tmp_path, shots=1)
    paint_clip(job, model)
    before = kept(job)
    for other, message in [
        (replace(job, styles=(1 - STYLE,)), "styles was"),
        (replace(job, options=replace(job.options, strength=51)), "strength was 50"),
        (replace(job, video=replace(job.video, frame_steps=4)), "frame_steps was 3, now it is 4"),
        (replace(job, init=STYLE), "start was null"),
        (replace(job, clip=replace(job.clip, sha256="other")), "clip was"),
    ]:
        with pytest.raises(BadInputError, match=message):
            paint_clip(other, model)
    assert kept(job) == before


def test_a_clip_that_broke_leaves_what_is_done(tmp_path: Path, model: Model) -> None:
    job = make_job(tmp_path)
    with pytest.raises(BadInputError):
        paint_clip(job, model, progress=lambda step: (tmp_path / "clip" / "4.png").write_bytes(b"gone"))
    job = make_job(tmp_path)
    (tmp_path / "clip" / "4.png").unlink()
    with pytest.raises(BadInputError, match=r"4\.png"):
        paint_clip(job, model)


@pytest.mark.parametrize("strength", [0, 4])
def test_faint_strengths_fade_into_the_content(tmp_path: Path, model: Model, strength: float) -> None:
    job = make_job(tmp_path, StylizeOptions(size=64, steps=(5,), strength=strength), shots=1)
    result = paint_clip(job, model)
    off = [np.abs(f.pixels - scene(0, n) / 255).mean() for n, f in enumerate(finished_frames(job))]
    if strength == 0:
        assert max(off) < 1e-6
        assert result.steps == 0
        assert math.isnan(result.flicker)
        assert not job.folder.exists()
    else:
        full = [np.abs(frame - scene(0, n) / 255).mean() for n, frame in enumerate(map(_pixels, kept(job)))]
        np.testing.assert_allclose(off, np.array(full) * 0.4, rtol=1e-3)


def _pixels(data: bytes) -> np.ndarray:
    from cvtool.images import decode_picture

    return decode_picture(data, "a frame").pixels


def test_colours_can_be_kept(tmp_path: Path, model: Model) -> None:
    for keep in (Colors.luminance, Colors.match):
        folder = tmp_path / keep.value
        folder.mkdir()
        job = make_job(folder, StylizeOptions(size=64, steps=(5,), preserve_colors=keep), shots=1)
        paint_clip(job, model)
        for number, frame in enumerate(finished_frames(job)):
            content = scene(0, number) / np.float32(255)
            if keep is Colors.luminance:
                expected = color.with_luminance(content, color.luminance(frame.pixels))
                assert np.abs(frame.pixels - expected).max() < 0.02
            else:
                assert np.abs(frame.pixels.mean((0, 1)) - content.mean((0, 1))).max() < 0.08


def test_transparency_is_carried_over(tmp_path: Path, model: Model) -> None:
    job = make_job(tmp_path, shots=1, alpha=True)
    paint_clip(job, model)
    for frame in finished_frames(job):
        assert frame.alpha is not None
        assert frame.alpha[:, :9].max() < 0.01
        assert frame.alpha[:, 11:].min() > 0.99


@pytest.mark.parametrize("wrong", [{"frame_steps": 0}, {"steadiness": -1.0}, {"steadiness": math.inf}, {"jobs": 0}])
def test_options_out_of_range(tmp_path: Path, model: Model, wrong: dict[str, float]) -> None:
    job = make_job(tmp_path, shots=1)
    with pytest.raises(UsageError):
        paint_clip(replace(job, video=VideoOptions(**wrong)), model)
    assert not job.folder.exists()
