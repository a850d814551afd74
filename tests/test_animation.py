"""Animations: what a player sees, decoded by another library where there is one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from cvtool import animation
from cvtool.animation import animation_format, encode_animation, write_animation
from cvtool.codecs.video_streams import H264
from cvtool.errors import BadInputError, CvtoolError, UsageError
from cvtool.provenance import Provenance, read_provenance

COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128), (200, 30, 90)]


def flat_frames(height: int = 32, width: int = 48) -> list[np.ndarray]:
    return [np.full((height, width, 3), color, dtype=np.uint8) for color in COLORS]


def seen_in_video(path: Path) -> tuple[list[np.ndarray], float, float]:
    """Frames as RGB, frames per second, seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [rgb(frame) for frame in container.decode(stream)]
        return frames, float(stream.average_rate), float(stream.duration * stream.time_base)


def rgb(frame: av.VideoFrame) -> np.ndarray:
    """4:2:0 levels → RGB, by the numbers of ITU-R BT.709: luma 16 to 235, colour differences 16 to 240."""
    assert frame.format.name == "yuv420p"
    stacked = frame.to_ndarray().astype(np.float64)
    height, width = frame.height, frame.width
    y = (stacked[:height] - 16) / 219
    quarter = stacked[height:].reshape(2, height // 2, width // 2)
    blue, red = (np.repeat(np.repeat(plane, 2, axis=0), 2, axis=1) for plane in (quarter - 128) / 224)
    r, b = y + 1.5748 * red, y + 1.8556 * blue
    g = (y - 0.2126 * r - 0.0722 * b) / 0.7152
    return np.clip(np.rint(np.stack([r, g, b], axis=-1) * 255), 0, 255).astype(np.uint8)


def seen_in_picture(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """Frames as RGB, and the milliseconds each is shown."""
    with Image.open(path) as image:
        pairs = [(np.asarray(frame.convert("RGB")), frame.info["duration"]) for frame in ImageSequence.Iterator(image)]
    return [frame for frame, _ in pairs], [duration for _, duration in pairs]


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_mp4_shows_each_color_then_holds_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    monkeypatch.setattr(animation, "H264", [each for each in H264 if each[0] == codec])
    write_animation(tmp_path / "a.mp4", flat_frames(), fps=10, hold=2)
    frames, rate, seconds = seen_in_video(tmp_path / "a.mp4")
    assert rate == 10
    assert seconds == pytest.approx(0.4 + 2, abs=1e-3)
    assert len(frames) == 4 + 20
    for frame, color in zip(frames, [*COLORS, *[COLORS[-1]] * 19], strict=True):
        assert frame.shape == (32, 48, 3)
        assert np.abs(frame.astype(int) - color).max() <= 3


def test_small_frames_make_the_same_file_whatever_the_memory_held() -> None:
    """Of 150 files of this size 17 were others before."""
    random = np.random.default_rng(0)
    frames, used = [random.random((32, 32, 3), dtype=np.float32) for _ in range(9)], []
    found = set()
    for _ in range(150):
        used = [*used[-50:], bytearray(random.integers(1, 50_000))]
        found.add(encode_animation(frames, "mp4"))
    assert len(found) == 1


def test_this_installation_has_h264(tmp_path: Path) -> None:
    write_animation(tmp_path / "a.mp4", flat_frames())
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.colorspace) == ("h264", "yuv420p", 1)


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (1, 50), (51, 2)])
def test_mp4_of_odd_sizes_repeats_the_edge(tmp_path: Path, size: tuple[int, int]) -> None:
    write_animation(tmp_path / "a.mp4", flat_frames(*size), hold=0)
    frames, _, _ = seen_in_video(tmp_path / "a.mp4")
    assert frames[0].shape[:2] == tuple(side + side % 2 for side in size)
    assert np.abs(frames[1].astype(int) - COLORS[1]).max() <= 3


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("size", [(32, 48), (1, 1), (33, 47)])
def test_pictures_show_each_color_then_hold_the_last(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    path = tmp_path / f"a{suffix}"
    write_animation(path, flat_frames(*size), fps=10, hold=2)
    frames, durations = seen_in_picture(path)
    assert durations == [100, 100, 100, 100, 2000]
    for frame, color in zip(frames, COLORS, strict=True):
        assert frame.shape[:2] == size
        assert np.abs(frame.astype(int) - color).max() <= (0 if suffix == ".gif" else 6)
    with Image.open(path) as image:
        assert image.info["loop"] == 0


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4"])
def test_photographs_look_like_themselves(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(noise).resize((96, 64), Image.Resampling.BICUBIC))
    sent = [smooth, smooth[::-1], smooth[:, ::-1]]
    write_animation(tmp_path / f"a{suffix}", sent, hold=0)
    got = seen_in_video(tmp_path / "a.mp4")[0] if suffix == ".mp4" else seen_in_picture(tmp_path / f"a{suffix}")[0]
    for before, after in zip(sent, got, strict=True):
        assert np.abs(blurred(before) - blurred(after)).mean() < 3  # dithering is right on average only


def blurred(frame: np.ndarray) -> np.ndarray:
    """Means of 8 × 8 pixels."""
    return frame.reshape(frame.shape[0] // 8, 8, frame.shape[1] // 8, 8, 3).mean(axis=(1, 3))


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4"])
class TestEveryFormat:
    def test_floats_are_rounded_and_clipped(self, tmp_path: Path, suffix: str) -> None:
        levels = flat_frames()
        floats = [frame / np.float32(255) for frame in levels]
        floats[0] = floats[0] * 9 - 4  # 5, -4, -4
        write_animation(tmp_path / f"levels{suffix}", levels)
        write_animation(tmp_path / f"floats{suffix}", floats)
        assert (tmp_path / f"levels{suffix}").read_bytes() == (tmp_path / f"floats{suffix}").read_bytes()

    def test_same_frames_give_same_bytes(self, tmp_path: Path, suffix: str) -> None:
        noise = list(np.random.default_rng(0).random((3, 40, 40, 3)))
        for name in "ab":
            write_animation(tmp_path / f"{name}{suffix}", noise, hold=0.2)
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()

    @pytest.mark.parametrize("count", [1, 5])
    def test_what_made_it_is_kept(self, tmp_path: Path, suffix: str, count: int) -> None:
        made = Provenance("stylize", "1", "cvtool stylize 'a b.png'", {"names": ["x" * 300, "猫"]}, seed=3)
        frames, path = flat_frames()[:count], tmp_path / f"a{suffix}"
        write_animation(path, frames, note=made.to_json())
        assert read_provenance(path) == made
        first = path.read_bytes()
        write_animation(path, frames, note=made.to_json())
        assert path.read_bytes() == first
        write_animation(path, frames)
        with pytest.raises(BadInputError, match=r"no provenance|neither a picture"):
            read_provenance(path)

    def test_one_frame_is_enough(self, tmp_path: Path, suffix: str) -> None:
        write_animation(tmp_path / f"a{suffix}", flat_frames()[:1])
        assert (tmp_path / f"a{suffix}").stat().st_size > 30

    def test_one_array_of_frames_will_do(self, tmp_path: Path, suffix: str) -> None:
        write_animation(tmp_path / f"a{suffix}", np.stack(flat_frames()))
        assert (tmp_path / f"a{suffix}").exists()

    def test_refusals_leave_nothing(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a{suffix}"
        good = flat_frames()
        cases: list[tuple[list, dict]] = [
            ([], {}),
            ([good[0], flat_frames(10, 10)[0]], {}),
            ([np.zeros((4, 4))], {}),
            ([np.zeros((0, 4, 3))], {}),
            ([np.zeros((1, 70_000, 3), dtype=np.uint8)], {}),
            (good, {"fps": 0}),
            (good, {"fps": -1}),
            (good, {"fps": float("nan")}),
            (good, {"fps": float("inf")}),
            (good, {"hold": -1}),
            (good, {"hold": float("nan")}),
            (good, {"hold": 1e9}),
        ]
        for frames, options in cases:
            with pytest.raises(UsageError) as caught:
                write_animation(path, frames, **options)
            assert str(caught.value).isprintable()
        with pytest.raises(CvtoolError, match="does not exist"):
            write_animation(tmp_path / "missing" / f"a{suffix}", good)
        assert list(tmp_path.iterdir()) == []


def test_formats_that_are_none() -> None:
    for format in ("png", ".gif", "", "avi\n"):
        with pytest.raises(UsageError, match="gif, webp, mp4") as caught:
            encode_animation(flat_frames(), format)
        assert str(caught.value).isprintable()


def test_an_encoder_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animation, "H264", [("libx264", {"preset": "no such"})])
    with pytest.raises(CvtoolError, match="The MP4 cannot be encoded: "):
        write_animation(tmp_path / "a.mp4", flat_frames())
    assert list(tmp_path.iterdir()) == []


def test_format_is_told_by_the_suffix() -> None:
    assert [animation_format(name) for name in ("a.gif", "b.WEBP", "c/d.Mp4")] == ["gif", "webp", "mp4"]
    for name in ("a.png", "a", ".gif", "a.gif.txt", "a.avi\n"):
        with pytest.raises(UsageError) as caught:
            animation_format(name)
        assert ".gif, .webp, .mp4" in str(caught.value)
        assert str(caught.value).isprintable()


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 300),
    fps=st.fractions(min_value=1, max_value=50),
    hold=st.fractions(min_value=0, max_value=10),
)
def test_rounded_durations_do_not_drift(count: int, fps: Fraction, hold: Fraction) -> None:
    """GIF counts hundredths of a second: 12 frames per second are 8⅓ of them, and still a minute is a minute."""
    ticks = animation._durations(count, fps, hold, animation.GIF_TICK, 1)
    assert len(ticks) == count
    assert abs(sum(ticks[:-1]) - (count - 1) / fps * 100) <= 0.5
    assert abs(ticks[-1] - max(hold, 1 / fps) * 100) <= 0.5


def test_gif_is_never_faster_than_players_show(tmp_path: Path) -> None:
    write_animation(tmp_path / "a.gif", flat_frames(), fps=100, hold=0)
    assert seen_in_picture(tmp_path / "a.gif")[1] == [20] * 5
