"""Clips in and out; PyAV and Pillow themselves are the oracles."""

from __future__ import annotations

import io
import resource
import struct
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from cvtool.clip_writing import check_clip_output, write_clip
from cvtool.clips import UNKNOWN, Clip, Kind, open_clip, read_frames
from cvtool.errors import BadInputError, CvtoolError, UsageError
from cvtool.images import Picture
from cvtool.provenance import Provenance, read_provenance

NTSC = Fraction(24000, 1001)


def smooth(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A frame without detail that chroma subsampling could lose, other for each number."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    levels = np.stack([x, y, np.full_like(x, (number * 37 % 100) / 100)], axis=-1) * 180 + 40
    return levels.astype(np.uint8)


def pictures(clip: Clip) -> list[np.ndarray]:
    return [np.rint(picture.pixels * 255).astype(np.uint8) for picture in read_frames(clip)]


def make_video(
    path: Path,
    frames: list[np.ndarray],
    rate: Fraction | int = 10,
    codec: str = "libx264",
    times: list[int] | None = None,  # milliseconds
    sound: str | None = None,
    aspect: Fraction | None = None,
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream(sound, rate=48000, layout="mono") if sound else None
        for number, levels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(levels, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            seconds = float(len(frames) / Fraction(rate))
            t = np.arange(round(48000 * seconds)) / 48000
            tone = (0.4 * np.sin(2 * np.pi * 440 * t) * (t > seconds / 2))[None].astype(np.float32)
            for start in range(0, tone.shape[1], 960):
                block = av.AudioFrame.from_ndarray(tone[:, start : start + 960].copy(), format="fltp", layout="mono")
                block.sample_rate, block.pts, block.time_base = 48000, start, Fraction(1, 48000)
                container.mux(audio.encode(block))
            container.mux(audio.encode(None))
    return path


def samples(path: Path) -> np.ndarray:
    """The first sound track at 48 kHz, from time 0 of the file."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=48000)
    with av.open(str(path)) as container:
        blocks = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    length = max(round(float(b.time) * 48000) + b.samples for b in blocks)
    track = np.zeros(length, np.float32)
    for block in blocks:
        at = round(float(block.time) * 48000)
        part = block.to_ndarray().ravel()[max(0, -at) :]
        track[max(0, at) : max(0, at) + part.size] = part
    return track


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def copy(clip: Clip, path: Path) -> Clip:
    write_clip(path, read_frames(clip), clip)
    return open_clip(path)


# videos


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("rate", [Fraction(25), NTSC])
def test_frames_and_the_exact_rate_are_kept(tmp_path: Path, suffix: str, rate: Fraction) -> None:
    frames = [smooth(n) for n in range(7)]
    clip = open_clip(make_video(tmp_path / "in.mp4", frames, rate))
    assert (clip.kind, clip.frames, clip.rate, clip.steady, clip.sounds) == (Kind.video, 7, rate, True, ())
    assert (clip.height, clip.width, clip.end) == (48, 64, 7 / rate)
    assert all(np.abs(a.astype(int) - b).mean() < 3 for a, b in zip(pictures(clip), frames, strict=True))
    out = copy(clip, tmp_path / f"out{suffix}")
    assert (out.frames, out.rate, out.steady) == (7, rate, True)
    colors = [np.abs(a.astype(int) - b).mean() for a, b in zip(pictures(out), frames, strict=True)]
    assert max(colors) < 4.5  # another matrix than is tagged would shift them by 10 and more


def test_some_frames_only(tmp_path: Path) -> None:
    clip = open_clip(make_video(tmp_path / "in.mp4", [smooth(n) for n in range(9)]))
    some = [picture.pixels for picture in read_frames(clip, 3, 6)]
    every = [picture.pixels for picture in read_frames(clip)]
    np.testing.assert_array_equal(some, every[3:6])


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_frames_keep_their_own_times(tmp_path: Path, suffix: str) -> None:
    times = [0, 100, 400, 450, 1000]
    clip = open_clip(make_video(tmp_path / "in.mp4", [smooth(n) for n in range(5)], 10, times=times))
    assert not clip.steady
    assert clip.times == tuple(Fraction(t, 1000) for t in times)
    out = copy(clip, tmp_path / f"out{suffix}")
    assert out.times == clip.times


@pytest.mark.parametrize(("second", "third"), [(3000, 6000), (3000, 7000)])
def test_frames_an_hour_apart(tmp_path: Path, second: int, third: int) -> None:
    """Below 1/2002 frames per second, the nearest handy fraction would be 0."""
    times = [0, 1000 * second, 1000 * third]
    clip = open_clip(make_video(tmp_path / "in.mkv", [smooth(n) for n in range(3)], 10, times=times))
    assert (clip.times, clip.steady) == ((0, second, third), third == 2 * second)
    assert float(clip.rate) == pytest.approx(2 / third, rel=0.01)


def test_odd_sizes_get_their_last_row_and_column_twice(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(smooth(number, 33, 21)).save(folder / f"{number}.png")
    out = copy(open_clip(folder), tmp_path / "out.mp4")
    assert (out.height, out.width, out.frames) == (22, 34, 3)
    (first, *_) = pictures(out)
    expected = np.pad(smooth(0, 33, 21), ((0, 1), (0, 1), (0, 0)), mode="edge")
    assert np.abs(first.astype(int) - expected).mean() < 3.5


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), 3), ((0, -1, 1, 0), 1), ((-1, 0, 0, -1), 2)])
def test_rotation_is_applied(tmp_path: Path, matrix: tuple[int, ...], turns: int) -> None:
    """The matrix of ISO 14496-12, 8.3.2, rotates what is shown: (0, 1, −1, 0) by 90° with the clock."""
    path = make_video(tmp_path / "in.mp4", [smooth(n) for n in range(3)])
    data = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    clip = open_clip(path)
    expected = np.rot90(smooth(1), turns)  # counts against the clock
    assert (clip.height, clip.width) == expected.shape[:2]
    assert np.abs(pictures(clip)[1].astype(int) - expected).mean() < 3


def test_pixels_become_square(tmp_path: Path) -> None:
    clip = open_clip(make_video(tmp_path / "in.mp4", [smooth(n) for n in range(3)], aspect=Fraction(2)))
    assert (clip.height, clip.width) == (48, 128)
    assert np.abs(pictures(clip)[0].astype(int) - smooth(0, 128)).mean() < 3


# sound


@pytest.mark.parametrize(("sound", "suffix"), [("aac", ".mp4"), ("aac", ".mkv"), ("libopus", ".webm"), ("aac", ".mov")])
def test_sound_is_copied_byte_for_byte(tmp_path: Path, sound: str, suffix: str) -> None:
    source = "in.webm" if sound == "libopus" else "in.mp4"
    codec = "libvpx-vp9" if sound == "libopus" else "libx264"
    path = make_video(tmp_path / source, [smooth(n) for n in range(10)], codec=codec, sound=sound)
    copy(open_clip(path), tmp_path / f"out{suffix}")
    assert packets(tmp_path / f"out{suffix}") == packets(path)
    assert onset(tmp_path / f"out{suffix}") == pytest.approx(onset(path), abs=0.03)


def test_sound_is_encoded_anew_where_it_must_be(tmp_path: Path) -> None:
    path = make_video(tmp_path / "in.mp4", [smooth(n) for n in range(20)], sound="aac")
    out = copy(open_clip(path), tmp_path / "out.webm")
    assert [name.removeprefix("lib") for name in out.sounds] == ["opus"]
    track = samples(tmp_path / "out.webm")
    tone = track[round(1.3 * 48000) : round(1.8 * 48000)]
    assert np.argmax(np.abs(np.fft.rfft(tone))) / 0.5 == pytest.approx(440, abs=4)
    assert onset(tmp_path / "out.webm") == pytest.approx(1.0, abs=0.03)


def onset(path: Path) -> float:
    """When the tone begins, in seconds."""
    return float(np.argmax(np.abs(samples(path)) > 0.15)) / 48000


def test_gif_has_no_sound_and_says_nothing(tmp_path: Path) -> None:
    path = make_video(tmp_path / "in.mp4", [smooth(n) for n in range(4)], sound="aac")
    out = copy(open_clip(path), tmp_path / "out.gif")
    assert (out.frames, out.sounds, out.rate) == (4, (), 10)


def test_sound_without_a_decoder_is_left_out(tmp_path: Path) -> None:
    path = make_video(tmp_path / "in.mkv", [smooth(n) for n in range(4)], sound="aac")
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_ZZZ"))
    clip = open_clip(path)
    assert (clip.frames, clip.sounds) == (4, (UNKNOWN,))
    out = copy(clip, tmp_path / "out.mp4")
    assert (out.frames, out.sounds) == (4, ())


# GIF


def make_gif(path: Path, durations: list[int], loop: int | None, transparent: bool = False) -> Path:
    images = []
    for number in range(len(durations)):
        image = Image.fromarray(smooth(number)).convert("RGBA")
        if transparent:
            image.paste((0, 0, 0, 0), (number, 0, number + 10, 10))
        images.append(image)
    more = {} if loop is None else {"loop": loop}
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, disposal=2, **more)
    return path


@pytest.mark.parametrize("loop", [None, 0, 3])
def test_gif_keeps_durations_and_loops(tmp_path: Path, loop: int | None) -> None:
    durations = [100, 250, 40, 2000]
    clip = open_clip(make_gif(tmp_path / "in.gif", durations, loop))
    assert (clip.kind, clip.frames, clip.height, clip.width) == (Kind.animation, 4, 48, 64)
    assert clip.durations == tuple(Fraction(d, 1000) for d in durations)
    write_clip(tmp_path / "out.gif", read_frames(clip), clip, note="who made it")
    with Image.open(tmp_path / "out.gif") as image:
        assert image.info.get("loop") == loop
        assert image.info["comment"] == b"who made it"
        found = []
        for number in range(image.n_frames):
            image.seek(number)
            found.append(image.info["duration"])
    assert found == durations


def test_gif_keeps_transparency_and_a_video_shows_white(tmp_path: Path) -> None:
    clip = open_clip(make_gif(tmp_path / "in.gif", [100] * 4, 0, transparent=True))
    (first, *_, last) = list(read_frames(clip))
    assert first.alpha is not None
    assert last.alpha is not None
    assert (last.alpha == 0).sum() == 100
    out = list(read_frames(copy(clip, tmp_path / "out.gif")))
    for before, after in zip(read_frames(clip), out, strict=True):
        np.testing.assert_array_equal(before.alpha, after.alpha)
    film = pictures(copy(clip, tmp_path / "out.mp4"))
    assert film[0][2:8, 2:8].min() > 245
    assert film[0][20:, 20:].mean() < 200


def test_gif_of_a_video_does_not_drift(tmp_path: Path) -> None:
    clip = open_clip(make_video(tmp_path / "in.mp4", [smooth(n) for n in range(31)], 30))
    out = copy(clip, tmp_path / "out.gif")
    assert out.frames == 31
    assert abs(out.end - clip.end) < Fraction(1, 100)


# folders


def test_folders_are_read_by_number_and_keep_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in (1, 2, 10):
        Image.fromarray(smooth(number)).save(folder / f"frame{number}.bmp")
    (folder / "notes.txt").write_text("no frame")
    clip = open_clip(folder, Fraction(12))
    assert clip.names == ("frame1.bmp", "frame2.bmp", "frame10.bmp")
    assert (clip.rate, clip.end) == (12, Fraction(3, 12))
    write_clip(tmp_path / "out", read_frames(clip), clip)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["frame1.png", "frame10.png", "frame2.png"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in", "out"]
    for number in (1, 2, 10):
        np.testing.assert_array_equal(Image.open(tmp_path / "out" / f"frame{number}.png"), smooth(number))


def test_a_folder_that_is_written_is_whole_or_not_there(tmp_path: Path) -> None:
    clip = open_clip(make_video(tmp_path / "in.mp4", [smooth(n) for n in range(5)]))

    def two():
        yield from list(read_frames(clip))[:2]
        raise CvtoolError("the work failed")

    for name in ("out", "out.mp4", "out.gif"):
        with pytest.raises(CvtoolError, match="the work failed"):
            write_clip(tmp_path / name, two(), clip)
    assert [file.name for file in tmp_path.iterdir()] == ["in.mp4"]


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thing").touch()
    for name, message in [("out.avi", "'.avi'"), ("full", "not empty")]:
        with pytest.raises(UsageError, match=message):
            check_clip_output(tmp_path / name)
    for name in ("out.MP4", "out.webm", "out.gif", "out"):
        check_clip_output(tmp_path / name)


# bad input


def bad_folder_of_sizes(path: Path) -> Path:
    path.mkdir()
    Image.new("RGB", (10, 10)).save(path / "1.png")
    Image.new("RGB", (10, 12)).save(path / "2.png")
    return path


def bad_folder_of_twins(path: Path) -> Path:
    path.mkdir()
    Image.new("RGB", (10, 10)).save(path / "1.png")
    Image.new("RGB", (10, 10)).save(path / "1.jpg")
    return path


def bad_folder_with_a_broken_frame(path: Path) -> Path:
    path.mkdir()
    Image.effect_noise((64, 48), 50).convert("RGB").save(path / "1.png")
    (path / "2.png").write_bytes((path / "1.png").read_bytes()[:900])
    return path


def cut_short(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])
    return path


def text(path: Path) -> Path:
    path.write_text("this is not a film\n" * 50)
    return path


def sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=48000, layout="mono")
        block = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        block.sample_rate, block.pts = 48000, 0
        container.mux(audio.encode(block))
        container.mux(audio.encode(None))
    return path


def renamed(path: Path) -> Path:
    """A film in a format that nobody knows."""
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_ZZZZZ/ISO/ZZZ"))
    return path


def of_pixels(path: Path, width: int, height: int) -> Path:
    """A film whose container says another shape of its pixels."""
    data = make_video(path, [smooth(n, 128, 96) for n in range(2)], aspect=Fraction(2)).read_bytes()
    at = data.index(b"pasp") + 4
    path.write_bytes(data[:at] + struct.pack(">II", width, height) + data[at + 8 :])
    return path


def of_screen(path: Path, width: int, height: int) -> Path:
    """A GIF whose header says another size."""
    data = make_gif(path, [100] * 2, 0).read_bytes()
    path.write_bytes(data[:6] + struct.pack("<HH", width, height) + data[10:])
    return path


def fast_start(path: Path) -> Path:
    """An MP4 whose index comes first, so that half of it still opens."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(40)]
    plain = make_video(path.with_suffix(".plain.mp4"), noise)
    with av.open(str(plain)) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return path


def film(path: Path) -> Path:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(40)]
    return make_video(path, noise, codec="libvpx-vp9" if path.suffix == ".webm" else "libx264")


BAD = {
    "missing": (lambda p: p / "none.mp4", "no such file"),
    "empty": (lambda p: (p / "e.mp4").touch() or p / "e.mp4", "is empty"),
    "text": (lambda p: text(p / "t.mp4"), "not a clip"),
    "sound only": (lambda p: sound_only(p / "s.mp4"), "only sound"),
    "a single picture": (lambda p: Image.new("RGB", (9, 9)).save(p / "p.gif") or p / "p.gif", "single picture"),
    "half an MP4": (lambda p: cut_short(film(p / "h.mp4"), 0.5), "truncated"),
    "half an MP4 with its index first": (lambda p: cut_short(fast_start(p / "f.mp4"), 0.5), "truncated"),
    "half a WebM": (lambda p: cut_short(film(p / "h.webm"), 0.5), "truncated"),
    "half a GIF": (lambda p: cut_short(make_gif(p / "h.gif", [100] * 5, 0), 0.5), "truncated"),
    "pixels as wide as a film": (lambda p: of_pixels(p / "w.mp4", 100_000, 1), "is too large: it declares"),
    "pixels as high as a film": (lambda p: of_pixels(p / "n.mp4", 1, 100_000), "declares 0 × 96 pixels"),
    "a GIF of a giant": (lambda p: of_screen(p / "g.gif", 13_500, 13_500), "is too large"),
    "a film without a decoder": (lambda p: renamed(film(p / "u.mkv")), "no decoder"),
    "an empty folder": (lambda p: (p / "d").mkdir() or p / "d", "no pictures"),
    "several sizes": (lambda p: bad_folder_of_sizes(p / "d"), "several sizes: 10×10, but '2.png' has 10×12"),
    "twins": (lambda p: bad_folder_of_twins(p / "d"), "both '1.jpg' and '1.png'|both '1.png' and '1.jpg'"),
    "a broken frame": (lambda p: bad_folder_with_a_broken_frame(p / "d"), "2.png' is truncated"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_clips_are_told_in_one_line(tmp_path: Path, case: str) -> None:
    make, message = BAD[case]
    with pytest.raises(BadInputError, match=message) as caught:
        open_clip(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_gif_that_breaks_after_it_was_opened(tmp_path: Path) -> None:
    path = make_gif(tmp_path / "x.gif", [50] * 4, 0)
    clip = open_clip(path)
    for data in (b"GIF89a no more", path.read_bytes()[:200]):
        path.write_bytes(data)
        with pytest.raises(BadInputError):
            list(read_frames(clip))


def test_a_gif_warns_nobody_and_its_reader_may(tmp_path: Path) -> None:
    clip = open_clip(of_screen(tmp_path / "x.gif", 100, 50))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for number, _ in enumerate(read_frames(clip)):
            warnings.warn(f"of the reader: {number}", stacklevel=1)
    assert [str(each.message) for each in heard] == ["of the reader: 0", "of the reader: 1"]


def test_random_damage_never_escapes(tmp_path: Path) -> None:
    """Whatever is broken: a clip, or one `BadInputError`."""
    rng = np.random.default_rng(1)
    for whole in (film(tmp_path / "x.mp4"), film(tmp_path / "x.webm"), make_gif(tmp_path / "x.gif", [50] * 4, 0)):
        data = np.frombuffer(whole.read_bytes(), np.uint8)
        for _ in range(12):
            broken = data.copy()
            broken[rng.integers(0, len(data), 20)] = rng.integers(0, 255, 20)
            path = tmp_path / f"broken{whole.suffix}"
            path.write_bytes(broken.tobytes())
            try:
                for _picture in read_frames(open_clip(path)):
                    pass
            except BadInputError as error:
                message = str(error)
            else:
                message = ""
            assert "\n" not in message


@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "out.webm", "out"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    noise = [Picture(rng.random((120, 160, 3), np.float32), None, 8, "") for _ in range(10)]
    clip = open_clip(make_video(tmp_path / "in.mp4", [smooth(n, 160, 120) for n in range(10)]))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, limits[1]))  # as if the disk ended here
    try:
        with pytest.raises(CvtoolError, match="Cannot write") as caught:
            write_clip(tmp_path / name, iter(noise), clip)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["in.mp4"]


def test_frames_that_vanish_are_noticed(tmp_path: Path) -> None:
    clip = open_clip(make_video(tmp_path / "in.mp4", [smooth(n) for n in range(9)]))
    make_video(tmp_path / "in.mp4", [smooth(n) for n in range(4)])
    with pytest.raises(BadInputError, match="has changed"):
        list(read_frames(clip))


def test_bytes_are_the_same_every_time(tmp_path: Path) -> None:
    clip = open_clip(make_video(tmp_path / "in.mp4", [smooth(n) for n in range(6)], sound="aac"))
    for suffix in (".mp4", ".gif", ".webm"):
        both = [tmp_path / f"{name}{suffix}" for name in ("a", "b")]
        for path in both:
            write_clip(path, read_frames(clip), clip, note="same")
        assert both[0].read_bytes() == both[1].read_bytes()


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov", ".mkv", ".gif"])
def test_what_made_a_clip_can_be_read_back(tmp_path: Path, suffix: str) -> None:
    clip = open_clip(make_video(tmp_path / "in.mp4", [smooth(n) for n in range(3)]))
    made = Provenance("stylize", "1.0", "cvtool stylize 'ü.mp4' --video", {}, ({"path": "a", "sha256": "0"},))
    write_clip(tmp_path / f"out{suffix}", read_frames(clip), clip, note=made.to_json())
    assert read_provenance(tmp_path / f"out{suffix}") == made
    with pytest.raises(BadInputError, match="neither a picture nor a checkpoint"):
        read_provenance(tmp_path / "in.mp4")


def test_tags_that_are_no_text_do_not_matter(tmp_path: Path) -> None:
    clip = open_clip(make_video(tmp_path / "in.mp4", [smooth(n) for n in range(3)]))
    write_clip(tmp_path / "out.mp4", read_frames(clip), clip, note='{"made": "by a test"}')
    data = (tmp_path / "out.mp4").read_bytes()
    (tmp_path / "odd.mp4").write_bytes(data.replace(b"by a test", b"b\xff a test"))
    assert open_clip(tmp_path / "odd.mp4").times == clip.times
    with pytest.raises(BadInputError, match="is broken"):
        read_provenance(tmp_path / "odd.mp4")


def test_the_note_is_kept_as_a_comment(tmp_path: Path) -> None:
    clip = open_clip(make_video(tmp_path / "in.mp4", [smooth(n) for n in range(3)]))
    for suffix in (".mp4", ".webm", ".mov", ".mkv"):
        write_clip(tmp_path / f"out{suffix}", read_frames(clip), clip, note='{"made": "by a test"}')
        with av.open(str(tmp_path / f"out{suffix}")) as container:
            tags = {key.casefold(): value for key, value in container.metadata.items()}
        assert tags["comment"] == '{"made": "by a test"}'
    with io.BytesIO((tmp_path / "out.mp4").read_bytes()) as file, av.open(file) as container:
        assert len(container.streams) == 1
