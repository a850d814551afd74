"""Streams of video in a container that PyAV writes: encoders, and how their colours are told."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Encoder = tuple[str, dict[str, str]]
"""FFmpeg's name of an encoder, and its options."""

H264: Sequence[Encoder] = (
    ("libx264", {"crf": "18", "preset": "medium"}),  # visually lossless
    ("mpeg4", {"qscale": "2", "flags": "+qscale"}),  # FFmpeg's own, where PyAV was built without x264
)
BT709 = 1
"""FFmpeg's number of ITU-R BT.709 as matrix, primaries and transfer curve."""
VIDEO_RANGE = 1
"""FFmpeg's number of the range 16 to 235."""
SMALL = 64
"""Pixels. In frames below that, x264's macroblock tree reads memory that nobody has written: now and then another file
came out of the same frames (460 of 4,000 times at 32 pixels, never at 64)."""


def add_video_stream(container: Any, encoders: Sequence[Encoder], height: int, width: int, rate: Fraction) -> Any:
    """A stream in the first of the encoders that this FFmpeg has; the same frames give the same bytes."""
    import av

    codec, options = next(choice for choice in encoders if choice[0] in av.codecs_available)
    stream = container.add_stream(codec, rate=rate)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.options = {**options, "mbtree": "0"} if codec == "libx264" and min(height, width) < SMALL else options
    context = stream.codec_context
    context.thread_count = 1  # the bytes would depend on the number of threads
    # Untagged video is shown by guess, small pictures with another matrix than large ones.
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = VIDEO_RANGE
    return stream


def video_frame(levels: NDArray[np.uint8], height: int, width: int) -> Any:
    """RGB levels (h, w, 3) as a frame for such a stream; up to its size, the last row and column come again."""
    import av

    even = np.pad(levels, ((0, height - levels.shape[0]), (0, width - levels.shape[1]), (0, 0)), mode="edge")
    frame: Any = av.VideoFrame.from_ndarray(even, format="rgb24")
    return frame.reformat(format="yuv420p", src_colorspace=BT709, dst_colorspace=BT709, dst_color_range=VIDEO_RANGE)
