"""Clips → frames: of videos (PyAV), `animated_pictures` and folders. The way back is `clip_writing`.

Reading is strict: `open_clip` goes through the whole clip once, so that a broken one is told before any work.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvtool.animated_pictures import broken_clip, frames_of, is_animated_picture, look_at
from cvtool.codecs.rasters import check_size
from cvtool.errors import BadInputError
from cvtool.files import PICTURE_SUFFIXES, opened_input, read_input, sha256_of, shown
from cvtool.images import Picture, read_picture

FOLDER_RATE = Fraction(24)
"""Frames per second of a folder of frames, which says nothing of time itself."""

UNKNOWN = "unknown"

HIGH_DEFINITION = 720
"""Videos without a word about their colours follow ITU-R BT.709 from this height on, BT.601 below."""


class Kind(str, Enum):
    """What a clip is kept in."""

    video = "video"
    animation = "animation"
    folder = "folder"


@dataclass(frozen=True)
class Clip:
    """What is known of a clip before its frames are looked at.

    Attributes:
        path: the file or folder.
        kind: what it is.
        height, width: of a frame in pixels: upright, and with square pixels.
        times: when each frame appears, in seconds from the first one.
        end: when the last frame disappears.
        rate: frames per second: exact where all are shown equally long, else their mean.
        steady: all frames are shown equally long, but for what the clip's clock rounds.
        names: of the files of a folder.
        loops: how often an animated picture is shown, 0 for ever; None where nothing says so.
        sounds: names of the codecs of the sound tracks; `UNKNOWN` where there is no decoder.
        begins: when a video's first frame appears on the clock that its sound has, too, in seconds.
        sha256: of the file; of a folder, of the names and hashes of its files.
    """

    path: Path
    kind: Kind
    height: int
    width: int
    times: tuple[Fraction, ...]
    end: Fraction
    rate: Fraction
    steady: bool
    sha256: str
    names: tuple[str, ...] = ()
    loops: int | None = None
    sounds: tuple[str, ...] = ()
    begins: Fraction = Fraction(0)

    @property
    def frames(self) -> int:
        """How many."""
        return len(self.times)

    @property
    def durations(self) -> tuple[Fraction, ...]:
        """How long each frame is shown, in seconds."""
        return tuple(later - sooner for sooner, later in pairwise((*self.times, self.end)))


def open_clip(path: str | Path, rate: Fraction | None = None) -> Clip:
    """Go through a clip once and say what is in it.

    Args:
        path: a video of any format FFmpeg reads, an animated GIF, WebP or PNG, or a folder of pictures, which are
            taken in the order of the numbers in their names.
        rate: frames per second of a folder; None for `FOLDER_RATE`.

    Raises:
        BadInputError: missing, not a clip, truncated, broken, without frames, or with frames of several sizes.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path, rate or FOLDER_RATE)
    with opened_input(path, lasting=True) as file:
        head = file.read(16)
    if not head:
        raise BadInputError(f"'{shown(path)}' is empty. Fetch or save it again.")
    return _open_animation(path) if is_animated_picture(head) else _open_video(path)


def read_frames(clip: Clip, first: int = 0, last: int | None = None) -> Iterator[Picture]:
    """Frames `first` to before `last` (None: to the end) of a clip, one after the other.

    Raises:
        BadInputError: the clip is no longer what it was when it was opened.
    """
    last = clip.frames if last is None else min(last, clip.frames)
    read = {Kind.video: _video_frames, Kind.animation: _animation_frames, Kind.folder: _folder_frames}[clip.kind]
    count = first
    for picture in read(clip, first, last):
        if picture.pixels.shape[:2] != (clip.height, clip.width):
            break
        yield picture
        count += 1
    if count < last:
        raise BadInputError(f"'{shown(clip.path)}' has changed while it was read. Leave it alone, and begin again.")


# folders


def _open_folder(path: Path, rate: Fraction) -> Clip:
    try:
        files = [file for file in path.iterdir() if file.suffix.casefold() in PICTURE_SUFFIXES]
    except OSError as error:
        raise BadInputError(f"Cannot read the folder '{shown(path)}': {error.strerror}.") from error
    names = sorted((file.name for file in files if not file.name.startswith(".")), key=_natural)
    if not names:
        raise BadInputError(f"Folder '{shown(path)}' holds no pictures. Give one with the frames of a clip.")
    stems: dict[str, str] = {}
    for name in names:
        other = stems.setdefault(Path(name).stem.casefold(), name)
        if other != name:
            raise BadInputError(f"'{shown(path)}' holds both '{shown(other)}' and '{shown(name)}'. Keep one of them.")
    size, digest = None, hashlib.sha256()
    for name in names:
        shape = read_picture(path / name).pixels.shape[:2]
        size = size or shape
        if shape != size:
            raise BadInputError(_several_sizes(path, size, shape, f"'{shown(name)}'"))
        digest.update(f"{name}\0{sha256_of(path / name)}\0".encode("utf-8", "surrogateescape"))
    assert size is not None
    times = tuple(number / rate for number in range(len(names)))
    end, sha256 = len(names) / rate, digest.hexdigest()
    return Clip(path, Kind.folder, size[0], size[1], times, end, rate, True, sha256, names=tuple(names))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """So that ``frame10`` comes after ``frame9``."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


def _folder_frames(clip: Clip, first: int, last: int) -> Iterator[Picture]:
    for name in clip.names[first:last]:
        yield read_picture(clip.path / name)


# animated pictures


def _open_animation(path: Path) -> Clip:
    data = read_input(path)
    found = look_at(data, path)
    times = [Fraction(0)]
    for duration in found.durations:
        times.append(times[-1] + duration)
    rate = len(found.durations) / times[-1]
    return Clip(
        path,
        Kind.animation,
        found.height,
        found.width,
        tuple(times[:-1]),
        times[-1],
        rate,
        len(set(found.durations)) == 1,
        hashlib.sha256(data).hexdigest(),
        loops=found.loops,
    )


def _animation_frames(clip: Clip, first: int, last: int) -> Iterator[Picture]:
    for levels in frames_of(read_input(clip.path), clip.path, first, last):
        yield _picture(levels[..., :3], levels[..., 3], clip.path)


# videos


@contextmanager
def opened_container(path: str | Path) -> Iterator[Any]:
    """A video file, open for reading by FFmpeg in the block.

    By its name FFmpeg would take it for an address (``concat:a|b``) where it looks like one, and of a playlist it would
    read the files it lists: this way a file can only speak of itself.
    """
    import av

    options = {"protocol_whitelist": "none"}
    # Tags that are not UTF-8 are no reason to refuse a clip. From 19 on PyAV keeps their bytes, as Python does with
    # names of files, and has no such argument any more; before, it raises an error unless it is told otherwise.
    lenient: dict[str, Any] = (
        {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "surrogateescape"}
    )
    with open(path, "rb") as file, av.open(file, options=options, **lenient) as container:
        yield container


def _open_video(path: Path) -> Clip:
    import av

    try:
        with opened_container(path) as container:
            stream = _decodable(container, path)
            times: list[Fraction] = []
            size, last = None, Fraction(0)
            for number, frame in enumerate(container.decode(stream)):
                shape = _shape(frame, stream)
                if size is None:
                    check_size(shape[1], shape[0])
                    size = shape
                if shape != size:
                    raise BadInputError(_several_sizes(path, size, shape, f"frame {number + 1}"))
                times.append(_time(frame, stream, times))
                last = Fraction(frame.duration or 0) * frame.time_base if frame.time_base else Fraction(0)
            _check_whole(path, container, stream, times)
            rate = Fraction(stream.average_rate or stream.guessed_rate or FOLDER_RATE)
            tick = Fraction(stream.time_base)
            sounds = tuple(getattr(track.codec_context, "name", UNKNOWN) for track in container.streams.audio)
    except BadInputError:
        raise
    except (av.FFmpegError, OSError, ValueError, EOFError, OverflowError, ZeroDivisionError) as error:
        raise broken_clip(path, error) from error
    assert size is not None
    begins = times[0]
    times = [time - begins for time in times]
    rate, steady = _true_rate(times, rate, tick)
    end = len(times) / rate if steady else times[-1] + (last or 1 / rate)
    return Clip(
        path,
        Kind.video,
        size[0],
        size[1],
        tuple(times),
        end,
        rate,
        steady,
        sha256_of(path),
        sounds=sounds,
        begins=begins,
    )


def _decodable(container: Any, path: Path) -> Any:
    """The first stream of pictures, ready to be decoded."""
    if not container.streams.video:
        raise BadInputError(f"'{shown(path)}' has no pictures, only sound. Give a video.")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise BadInputError(f"'{shown(path)}' is in a format for which there is no decoder. Convert it first.")
    if stream.codec_context.width > 0 < stream.codec_context.height:  # else they are known from the first frame on
        check_size(stream.codec_context.width, stream.codec_context.height)
    stream.thread_type = "AUTO"
    return stream


def _time(frame: Any, stream: Any, times: list[Fraction]) -> Fraction:
    """When a frame appears on the stream's clock; without a time, or going backwards, it follows the one before."""
    step = 1 / Fraction(stream.average_rate or stream.guessed_rate or FOLDER_RATE)
    following = times[-1] + step if times else Fraction(0)
    if frame.pts is None:
        return following
    time = Fraction(frame.pts) * Fraction(frame.time_base)
    return time if not times or time > times[-1] else following


def _true_rate(times: list[Fraction], declared: Fraction, tick: Fraction) -> tuple[Fraction, bool]:
    """The rate, and whether all frames keep to it but for less than a tick of the clock."""
    candidates = [declared]
    if len(times) > 1:
        mean = (len(times) - 1) / times[-1]
        candidates += [rate for rate in (mean.limit_denominator(1001), mean) if rate > 0]  # 0: half an hour a frame
    for rate in candidates:
        if all(abs(time - number / rate) <= tick for number, time in enumerate(times)):
            return rate, True
    return candidates[-1].limit_denominator(100000) or candidates[-1], False


def _check_whole(path: Path, container: Any, stream: Any, times: list[Fraction]) -> None:
    if not times:
        raise BadInputError(f"'{shown(path)}' has no frames that can be read. Fetch or save it again.")
    promised = _promised(container, stream)
    step = 1 / Fraction(stream.average_rate or stream.guessed_rate or FOLDER_RATE)
    there = times[-1] - times[0] + step
    if promised is not None and there < promised - max(10 * step, promised / 50):
        raise BadInputError(
            f"'{shown(path)}' is truncated: {float(there):.1f} of {float(promised):.1f} seconds can be read. "
            "Fetch or save it again."
        )


def _promised(container: Any, stream: Any) -> Fraction | None:
    """Seconds of pictures that the file says it has; None where it does not say."""
    if stream.duration:
        return Fraction(stream.duration) * Fraction(stream.time_base)
    tag = stream.metadata.get("DURATION", "")  # Matroska and WebM: 00:00:05.000000000
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", tag)
    if found:
        return int(found[1]) * 3600 + int(found[2]) * 60 + Fraction(found[3])
    if len(container.streams) == 1 and container.duration:
        return Fraction(container.duration, 1_000_000)
    return None


def _shape(frame: Any, stream: Any) -> tuple[int, int]:
    """(height, width) as it is to be seen."""
    height, width = frame.height, round(frame.width * _aspect(stream))
    return (width, height) if frame.rotation % 180 else (height, width)


def _aspect(stream: Any) -> Fraction:
    """Width of a pixel divided by its height."""
    ratio = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return Fraction(ratio) if ratio else Fraction(1)


def _video_frames(clip: Clip, first: int, last: int) -> Iterator[Picture]:
    import av

    try:
        with opened_container(clip.path) as container:
            stream = _decodable(container, clip.path)
            for number, frame in enumerate(container.decode(stream)):
                if number >= last:
                    return
                if number >= first:
                    yield _picture(_levels(frame, stream), None, clip.path)
    except (av.FFmpegError, OSError, ValueError, EOFError) as error:
        raise broken_clip(clip.path, error) from error


def _levels(frame: Any, stream: Any) -> NDArray[np.uint8]:
    """A decoded frame → (H, W, 3), upright, with square pixels."""
    from av.video.reformatter import Colorspace

    said = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601}.get(int(frame.colorspace))
    if said is None and int(frame.colorspace) in (0, 2):  # an identity matrix is RGB already; 2: nothing is said
        said = Colorspace.ITU709 if frame.height >= HIGH_DEFINITION else Colorspace.ITU601
    width = round(frame.width * _aspect(stream))
    rgb = frame.reformat(width=width, format="rgb24", src_colorspace=said, interpolation="BICUBIC")
    levels: NDArray[np.uint8] = rgb.to_ndarray()
    return np.rot90(levels, frame.rotation // 90)  # both count against the clock


def _picture(levels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None, path: Path) -> Picture:
    opaque = alpha is None or bool((alpha == 255).all())
    pixels = np.ascontiguousarray(levels, dtype=np.float32) / np.float32(255)
    return Picture(pixels, None if opaque or alpha is None else np.divide(alpha, np.float32(255)), 8, str(path))


def _several_sizes(path: Path, size: tuple[int, ...], other: tuple[int, ...], where: str) -> str:
    return (
        f"'{shown(path)}' has frames of several sizes: {size[1]}×{size[0]}, but {where} has {other[1]}×{other[0]}. "
        "Bring them to one size first."
    )
