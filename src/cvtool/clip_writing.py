"""Frames → a video with the sound of another, an animated GIF, or a folder of PNG; written whole or not at all."""

from __future__ import annotations

import io
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cvtool.animation import GIF_SHORTEST, GIF_TICK, dithered
from cvtool.clips import Clip, opened_container
from cvtool.codecs.rasters import to_levels
from cvtool.codecs.video_streams import H264, Encoder, add_video_stream, video_frame
from cvtool.errors import CvtoolError, UsageError
from cvtool.files import atomic_path, shown, write_atomically, write_error
from cvtool.images import Picture, encode_picture, flatten

OPAQUE_FROM = 0.5
"""GIF's pixels are there or not: from this alpha on they are."""


@dataclass(frozen=True)
class Container:
    """A kind of video file.

    Attributes:
        format: FFmpeg's name.
        video: encoders, the first that PyAV's FFmpeg has is taken, with their options.
        sound: the encoder for sound that cannot be copied.
        copies: codecs whose sound is copied as it is; () for all.
    """

    format: str
    video: Sequence[Encoder]
    sound: str
    copies: frozenset[str]


_VP9: Sequence[Encoder] = (
    ("libvpx-vp9", {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "3"}),
    ("libvpx", {"crf": "8", "b": "8M"}),
)
_MP4_SOUNDS = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "libopus", "flac"})
CONTAINERS = {
    ".mp4": Container("mp4", H264, "aac", _MP4_SOUNDS),
    ".mov": Container("mov", H264, "aac", _MP4_SOUNDS - {"opus", "libopus", "flac"} | {"pcm_s16le", "pcm_s24le"}),
    ".mkv": Container("matroska", H264, "aac", frozenset()),
    ".webm": Container("webm", _VP9, "libopus", frozenset({"opus", "libopus", "vorbis", "libvorbis"})),
}
GIF = ".gif"


def check_clip_output(path: Path) -> None:
    """Whether `path` names a clip that can be written: a suffix of `CONTAINERS`, ``.gif``, or none for a folder.

    Raises:
        UsageError: another suffix, or a folder that holds something.
    """
    suffix = path.suffix.casefold()
    if suffix in CONTAINERS or suffix == GIF:
        return
    if suffix and not path.is_dir():
        known = ", ".join([*CONTAINERS, GIF])
        raise UsageError(
            f"The suffix '{shown(suffix)}' of '{shown(path)}' names no clip. Use one of {known}, or none for a folder."
        )
    if path.is_dir() and any(path.iterdir()):
        raise UsageError(f"The folder '{shown(path)}' is not empty. Give a new one for the frames.")


def write_clip(path: str | Path, pictures: Iterable[Picture], source: Clip, *, note: str = "") -> None:
    """Write frames with the times, and where the format has any the sound, of `source`; whole or not at all.

    Videos have an even number of rows and columns: odd sizes get their last one twice. They have no transparency: it
    is flattened on white. Sound is copied as it is where the format allows, else encoded anew; GIF and folders have
    none. A GIF keeps durations (in hundredths of a second, at least two), loops, and transparency (a pixel is there
    or not). The files in a folder are called as in `source`, or by number.

    Args:
        path: its suffix says what is written, see `check_clip_output`.
        pictures: one for each of `source.times`, all of one size.
        source: gives times, loops, names and sound.
        note: what made it, kept as the file's comment (in PNG as in every other picture).

    Raises:
        UsageError: the suffix names no clip.
        CvtoolError: the file cannot be written, e.g. because the disk is full.
    """
    path = Path(path)
    check_clip_output(path)
    suffix = path.suffix.casefold()
    if suffix == GIF:
        write_atomically(path, _encode_gif(pictures, source, note))
    elif suffix in CONTAINERS:
        with atomic_path(path) as temporary:
            _write_video(temporary, path, CONTAINERS[suffix], pictures, source, note)
    else:
        _write_folder(path, pictures, source, note)


# folders


def _write_folder(path: Path, pictures: Iterable[Picture], source: Clip, note: str) -> None:
    digits = max(4, len(str(source.frames)))
    names = [Path(name).stem for name in source.names] or [f"{n:0{digits}}" for n in range(1, source.frames + 1)]
    with _folder_at_once(path) as temporary:
        for name, picture in zip(names, pictures, strict=True):
            data = encode_picture(picture.pixels, "png", alpha=picture.alpha, note=note or None)
            write_atomically(temporary / f"{name}.png", data)


@contextmanager
def _folder_at_once(path: Path) -> Iterator[Path]:
    """A folder beside `path`, which takes its place after the block; gone after an exception."""
    temporary = path.parent / f".cvtool-{secrets.token_hex(8)}"
    try:
        temporary.mkdir()
        yield temporary
        with suppress(FileNotFoundError):
            path.rmdir()  # an empty one
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


# GIF


def _encode_gif(pictures: Iterable[Picture], source: Clip, note: str) -> bytes:
    images = [_with_palette(picture) for picture in pictures]
    ends = [round(time / GIF_TICK) for time in (*source.times, source.end)]
    ticks = [max(GIF_SHORTEST, later - sooner) for sooner, later in pairwise(ends)]
    options: dict[str, Any] = {"comment": note.encode()} if note else {}
    if source.loops != 1:
        options["loop"] = max(0, (source.loops or 0) - 1)
    if any("transparency" in image.info for image in images):
        options["disposal"] = 2  # what was there before must not show through
    buffer = io.BytesIO()
    # optimize=False: else Pillow drops unused colours, and with them the number of the transparent one.
    images[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=images[1:],
        duration=[tick * 10 for tick in ticks],
        optimize=False,
        **options,
    )
    return buffer.getvalue()


def _with_palette(picture: Picture) -> Image.Image:
    """The 256 colours that suit a frame best (255 and a transparent one); what they miss is spread around."""
    colors = 256 if picture.alpha is None else 255
    paletted = dithered(Image.fromarray(to_levels(picture.pixels)), colors)
    if picture.alpha is not None:
        hidden = Image.fromarray(((picture.alpha < OPAQUE_FROM) * 255).astype(np.uint8))
        paletted.paste(255, mask=hidden)
        paletted.info["transparency"] = 255
    return paletted


# videos


def _write_video(
    temporary: Path, path: Path, kind: Container, pictures: Iterable[Picture], source: Clip, note: str
) -> None:
    import av

    try:
        with av.open(str(temporary), "w", format=kind.format, options={"fflags": "+bitexact"}) as container:
            if note:
                container.metadata["comment"] = note
            _mux(container, kind, pictures, source)
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise write_error(path, error) from error
        raise CvtoolError(f"Cannot write '{shown(path)}': {error}. Try another format, e.g. .mkv.") from error


def _mux(container: Any, kind: Container, pictures: Iterable[Picture], source: Clip) -> None:
    waiting = iter(pictures)
    first = next(waiting)
    height, width = (side + side % 2 for side in first.pixels.shape[:2])
    rate = source.rate.limit_denominator(1_000_000)
    stream = add_video_stream(container, kind.video, height, width, rate)
    tick = 1 / source.rate if source.steady else _tick(source)
    stream.codec_context.time_base = tick
    with _sound(container, kind, source) as pump:
        stops = [round(time / tick) for time in (*source.times, source.end)]
        for number, picture in enumerate(_again(first, waiting)):
            pump(source.times[number])
            frame = video_frame(to_levels(flatten(picture)), height, width)
            frame.pts, frame.time_base = stops[number], tick
            container.mux(_timed(stream.encode(frame), stops))
        container.mux(_timed(stream.encode(None), stops))
        pump(None)


def _again(first: Picture, rest: Iterator[Picture]) -> Iterator[Picture]:
    yield first
    yield from rest


def _tick(source: Clip) -> Fraction:
    """A clock that shows all times of the clip exactly, or to 1/90000 second."""
    finest = 90000
    exact = 1
    for time in (*source.times, source.end):
        exact = exact * time.denominator // np.gcd(exact, time.denominator)
        if exact > finest:
            return Fraction(1, finest)
    return Fraction(1, int(exact))


def _timed(packets: list[Any], stops: list[int]) -> list[Any]:
    """Packets with the time their frame is shown, which encoders do not know for the last one."""
    after = dict(pairwise(stops))
    for packet in packets:
        if packet.pts in after:
            packet.duration = after[packet.pts] - packet.pts
    return packets


# sound


@contextmanager
def _sound(target: Any, kind: Container, source: Clip) -> Iterator[Callable[[Fraction | None], None]]:
    """Lends a function that carries over the sound up to a time in seconds; None carries over the rest."""
    if not source.sounds:
        yield lambda until: None
        return
    with opened_container(source.path) as container:
        zero = source.begins
        heard = [track for track in container.streams.audio if track.codec_context is not None]
        tracks = {track.index: _Track(target, track, kind, zero) for track in heard}
        packets = iter(container.demux(*heard) if heard else ())  # of no track would be of all
        held: list[tuple[Fraction, Any]] = []

        def pump(until: Fraction | None) -> None:
            while True:
                if held:
                    if until is not None and held[0][0] > until:
                        return
                    packet = held.pop()[1]
                    tracks[packet.stream.index].carry(packet)
                packet = next(packets, None)
                if packet is None:
                    break
                at = Fraction(packet.pts or 0) * Fraction(packet.time_base) - zero if packet.time_base else Fraction(0)
                held.append((at, packet))
            if until is None:
                for track in tracks.values():
                    track.finish()

        yield pump


class _Track:
    """One sound track on its way: copied where the container can hold it, else encoded anew."""

    def __init__(self, target: Any, track: Any, kind: Container, zero: Fraction) -> None:
        self.target, self.zero = target, zero
        self.copied = not kind.copies or track.codec_context.name in kind.copies
        if self.copied:
            self.stream = target.add_stream_from_template(track)
        else:
            channels = track.codec_context.layout.nb_channels
            layout = track.codec_context.layout.name if channels <= 2 else "stereo"  # libopus refuses some layouts
            rate = 48000 if kind.sound == "libopus" else track.codec_context.sample_rate
            self.stream = target.add_stream(kind.sound, rate=rate, layout=layout)

    def carry(self, packet: Any) -> None:
        """Take one packet of the source."""
        import av

        if self.copied:
            if packet.dts is None:  # the mark at the end
                return
            shift = round(self.zero / Fraction(packet.time_base))
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = self.stream
            self.target.mux(packet)
            return
        try:
            frames = packet.decode()
        except av.InvalidDataError:  # a crack in the sound is no reason to lose the pictures
            return
        for frame in frames:
            if frame.pts is not None:
                frame.pts -= round(self.zero / Fraction(frame.time_base))
            self.target.mux(self.stream.encode(frame))

    def finish(self) -> None:
        """No more packets come."""
        if not self.copied:
            self.target.mux(self.stream.encode(None))
