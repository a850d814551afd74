"""Frames → an animated GIF or WebP (Pillow) or an MP4 with H.264 (PyAV, whose wheel brings the encoder)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvtool.codecs import notes
from cvtool.codecs.rasters import to_levels
from cvtool.codecs.video_streams import H264, add_video_stream, video_frame
from cvtool.errors import CvtoolError, UsageError, is_out_of_memory
from cvtool.files import in_few_words, shown, write_atomically

FORMATS = {".gif": "gif", ".webp": "webp", ".mp4": "mp4"}

MAX_SIDE = {"gif": 65535, "webp": 16383, "mp4": 16384}  # pixels
SLOWEST, FASTEST = 0.01, 1000  # frames per second
LONGEST_HOLD = 600  # seconds; GIF's own limit is near
GIF_TICK = Fraction(1, 100)  # seconds; GIF counts time in these
GIF_SHORTEST = 2  # ticks; players slow a shorter frame down to 10
WEBP_TICK = Fraction(1, 1000)
WEBP_QUALITY = 90


def animation_format(path: str | Path) -> str:
    """``gif``, ``webp`` or ``mp4``, as the suffix of `path` names it. Ask before any work starts.

    Raises:
        UsageError: another suffix.
    """
    suffix = Path(path).suffix
    try:
        return FORMATS[suffix.casefold()]
    except KeyError:
        what = f"The suffix '{shown(suffix)}'" if suffix else "No suffix"
        known = ", ".join(FORMATS)
        raise UsageError(f"{what} of '{shown(path)}' names an animation. Use one of {known}.") from None


def write_animation(
    path: str | Path, frames: Sequence[NDArray[Any]], fps: float = 12, hold: float = 1.5, *, note: str = ""
) -> None:
    """Write `frames` as an animation that loops (GIF, WebP) or plays once (MP4), whole or not at all.

    Args:
        path: ends in ``.gif``, ``.webp`` or ``.mp4``.
        frames: (H, W, 3) each, all of one size; float in [0, 1] or uint8. MP4 repeats the last row or column of
            odd sizes, which its colours cannot have.
        fps: frames per second. GIF shows at most 50 of them: faster ones become slower.
        hold: seconds the last frame stays.
        note: what made it, kept as the comment of a GIF or an MP4 and as a WebP's EXIF, as in pictures and clips.

    Raises:
        UsageError: unknown suffix, no frames, frames of several sizes or too large, `fps` or `hold` out of range.
        CvtoolError: the encoder fails, or the file cannot be written.
    """
    write_atomically(path, encode_animation(frames, animation_format(path), fps, hold, note=note))


def encode_animation(
    frames: Sequence[NDArray[Any]], format: str, fps: float = 12, hold: float = 1.5, *, note: str = ""
) -> bytes:
    """Frames (H, W, 3), float in [0, 1] or uint8 → the bytes that `write_animation` writes.

    Args:
        frames: all of one size.
        format: ``gif``, ``webp`` or ``mp4``.
        fps: frames per second, `SLOWEST` to `FASTEST`.
        hold: seconds the last frame stays, 0 to `LONGEST_HOLD`.
        note: as of `write_animation`.

    Raises:
        UsageError: another format, no frames, frames of several sizes or too large, `fps` or `hold` out of range.
        CvtoolError: the encoder fails.
    """
    levels = _checked(frames, format, fps, hold)
    encode = _encode_mp4 if format == "mp4" else partial(_encode_pillow, format=format)
    return encode(levels, fps=fps, hold=hold, note=note)


def _checked(frames: Sequence[NDArray[Any]], format: str, fps: float, hold: float) -> list[NDArray[np.uint8]]:
    if format not in MAX_SIDE:
        raise UsageError(f"Unknown animation format '{shown(format)}'. Use one of {', '.join(MAX_SIDE)}.")
    if len(frames) == 0:
        raise UsageError("An animation needs at least one frame. Give some.")
    if not SLOWEST <= fps <= FASTEST:
        raise UsageError(f"An animation of {fps} frames per second cannot be made. Use {SLOWEST} to {FASTEST}.")
    if not 0 <= hold <= LONGEST_HOLD:
        raise UsageError(f"The last frame cannot be held {hold} seconds. Use 0 to {LONGEST_HOLD}.")
    shape = frames[0].shape
    if len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise UsageError(f"An array of shape {shape} is not a frame. Give (height, width, 3).")
    other = next((frame.shape for frame in frames if frame.shape != shape), None)
    if other is not None:
        raise UsageError(f"The frames have several sizes: {shape[:2]} and {other[:2]}. Give them one size.")
    if max(shape) > MAX_SIDE[format]:
        raise UsageError(
            f"A side of {max(shape)} pixels is more than the {MAX_SIDE[format]} of {format}. Make it smaller."
        )
    return [_levels(frame) for frame in frames]


def _levels(frame: NDArray[Any]) -> NDArray[np.uint8]:
    if frame.dtype == np.uint8:
        return np.ascontiguousarray(frame)
    return to_levels(np.nan_to_num(frame))


def _encode_pillow(levels: list[NDArray[np.uint8]], format: str, fps: float, hold: float, note: str) -> bytes:
    tick, shortest = (GIF_TICK, GIF_SHORTEST) if format == "gif" else (WEBP_TICK, 1)
    images = [Image.fromarray(frame) for frame in levels]
    if format == "gif":
        images = [dithered(image) for image in images]
    ticks = _durations(len(images), Fraction(float(fps)), Fraction(float(hold)), tick, shortest)
    milliseconds = [int(count * tick * 1000) for count in ticks]
    options: dict[str, Any] = {} if format == "gif" else {"quality": WEBP_QUALITY}
    if note:
        options |= {"comment": note.encode()} if format == "gif" else {"exif": notes.exif_block(note)}
    buffer = io.BytesIO()
    images[0].save(
        buffer, format.upper(), save_all=True, append_images=images[1:], duration=milliseconds, loop=0, **options
    )
    return buffer.getvalue()


def dithered(image: Image.Image, colors: int = 256) -> Image.Image:
    """The colours that suit this frame best; what they miss is spread over the neighbours."""
    return image.quantize(colors, dither=Image.Dither.FLOYDSTEINBERG, palette=image.quantize(colors))


def _durations(count: int, fps: Fraction, hold: Fraction, tick: Fraction, shortest: int) -> list[int]:
    """Ticks each frame is shown. Frame ends are rounded, not durations: the error does not add up over time."""
    ends = [round(number / fps / tick) for number in range(count)]
    shown_for = [max(shortest, end - start) for start, end in pairwise(ends)]
    return [*shown_for, max(shortest, round(max(hold, 1 / fps) / tick))]


def _encode_mp4(levels: list[NDArray[np.uint8]], fps: float, hold: float, note: str) -> bytes:
    import av

    rate = Fraction(float(fps)).limit_denominator(1001)
    held = max(1, round(hold * fps))
    height, width = (side + side % 2 for side in levels[0].shape[:2])
    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
            if note:
                container.metadata["comment"] = note
            stream = add_video_stream(container, H264, height, width, rate)
            for level in [*levels, *[levels[-1]] * (held - 1)]:
                container.mux(stream.encode(video_frame(level, height, width)))
            container.mux(stream.encode(None))
    except av.FFmpegError as error:
        if is_out_of_memory(error):
            raise
        raise CvtoolError(f"The MP4 cannot be encoded: {in_few_words(error)}. Use .gif or .webp.") from error
    return buffer.getvalue()
