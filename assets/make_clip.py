"""A five-second clip made from the bundled photographs, of which every motion is known.

    python assets/make_clip.py clip.mp4                    # 512 × 288, 24 frames a second, with sound
    python assets/make_clip.py clip.mp4 --width 256 --seconds 2

A camera pans and zooms over a cup of coffee while a cat's eye drifts past in front of it. Both layers move by known
maps, so the flow between two frames, and what it uncovers, are exact: the truth by which video is measured
(`Scene.flow_back`). The sound is a slowly rising sine.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

HERE = Path(__file__).resolve().parent
PHOTOS = HERE / "photos"
ASPECT = 16 / 9
RATE = 24  # frames per second
SECONDS = 5.0
SAMPLING = 2  # each pixel is the mean of this many squared
AUDIO_RATE = 48000  # samples per second
FACE = (185, 130, 88, 98)  # centre and radii of the cat's face in its photo, in pixels

Affine = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """The clip as a function of time.

    Attributes:
        width: of a frame in pixels; the height follows from 16:9 (rounded to an even number).
        frames: how many there are in all; the motion is spread over 5 seconds whatever their number.
        rate: frames per second.
    """

    width: int = 512
    frames: int = round(SECONDS * RATE)
    rate: int = RATE

    @property
    def height(self) -> int:
        """In pixels, even."""
        return 2 * round(self.width / ASPECT / 2)

    @cached_property
    def layers(self) -> tuple[Image.Image, Image.Image]:
        """The photographs behind and in front."""
        return Image.open(PHOTOS / "coffee.jpg").convert("RGB"), Image.open(PHOTOS / "cat.jpg").convert("RGB")

    def frame(self, number: int) -> NDArray[np.uint8]:
        """Frame `number` from 0, (H, W, 3)."""
        width, height = self.width * SAMPLING, self.height * SAMPLING
        behind, front = (self._drawn(number, layer, width, height) for layer in (0, 1))
        cover = Image.fromarray((self._covered(number, width, height) * 255).astype(np.uint8))
        picture = Image.composite(front, behind, cover)
        return np.asarray(picture.reduce(SAMPLING))

    def flow_back(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Where each pixel of frame `number` ≥ 1 was in the frame before, and whether it could be seen there.

        Returns:
            The flow (H, W, 2) in pixels, x before y, from frame `number` to `number` − 1; visible (H, W), which leaves
            out a margin of one pixel around the edges of the eye's disc, where a pixel holds both layers.
        """
        xs, ys = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
        here = np.stack([xs, ys], axis=-1)
        face, face_before = (_spread(self._covered(n, self.width, self.height)) for n in (number, number - 1))
        flow = np.zeros_like(here)
        visible = np.zeros(here.shape[:2], dtype=bool)
        for layer, (mine, mine_before) in enumerate(((~face[0], ~face_before[0]), (face[1], face_before[1]))):
            then = _apply(_inverse(self._map(number - 1, layer)), _apply(self._map(number, layer), here))
            at = np.floor(then).astype(int)
            x, y = at[..., 0], at[..., 1]
            inside = (x >= 1) & (y >= 1) & (x < self.width - 1) & (y < self.height - 1)
            seen = mine_before[y.clip(0, self.height - 1), x.clip(0, self.width - 1)]
            belongs = self._covered(number, self.width, self.height) == bool(layer)
            flow = np.where(belongs[..., None], then - here, flow)
            visible |= mine & inside & seen
        return flow.astype(np.float32), visible

    def _progress(self, number: int) -> float:
        return number / (SECONDS * self.rate)

    def _map(self, number: int, layer: int) -> Affine:
        """From a point of the frame, in pixels, to one of the photograph, as a (2, 3) matrix."""
        p = self._progress(number)
        unit = 1 / self.width
        if layer == 0:  # from the whole cup into its middle, leftwards
            scale = 520 * unit * (1 - 0.3 * p)
            turn, middle, where = 0.0, (0.5, 0.5 / ASPECT), (275 + 60 * p, 200 - 15 * p)
        else:  # the face crosses from lower left to upper right, nodding
            scale = 560 * unit * (1 - 0.15 * p)
            turn = 0.25 * np.sin(2 * np.pi * p)
            middle, where = (0.18 + 0.62 * p, 0.36 - 0.14 * p), FACE[:2]
        cos, sin = scale * np.cos(turn), scale * np.sin(turn)
        linear = np.array([[cos, -sin], [sin, cos]])
        offset = np.array(where) - linear @ (np.array(middle) * self.width)
        return np.column_stack([linear, offset])

    def _drawn(self, number: int, layer: int, width: int, height: int) -> Image.Image:
        matrix = self._map(number, layer).copy()
        matrix[:, :2] *= self.width / width
        # One photograph pixel is never smaller than a sample: no filter is needed before.
        return self.layers[layer].transform(
            (width, height), Image.Transform.AFFINE, tuple(matrix.ravel()), Image.Resampling.BICUBIC
        )

    def _covered(self, number: int, width: int, height: int) -> NDArray[np.bool_]:
        """(height, width): which pixels show the face."""
        scale = self.width / width
        xs, ys = np.meshgrid((np.arange(width) + 0.5) * scale, (np.arange(height) + 0.5) * scale)
        points = _apply(self._map(number, 1), np.stack([xs, ys], axis=-1))
        x, y, across, down = FACE
        return np.asarray(((points[..., 0] - x) / across) ** 2 + ((points[..., 1] - y) / down) ** 2 < 1)


def _spread(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """A mask grown and shrunk by one pixel."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return tuple(np.asarray(image.filter(f(3))) > 0 for f in (ImageFilter.MaxFilter, ImageFilter.MinFilter))  # type: ignore[return-value]


def _apply(matrix: Affine, points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def _inverse(matrix: Affine) -> Affine:
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def sound(seconds: float) -> NDArray[np.float32]:
    """A sine that rises from 220 to 440 Hz, (1, samples) in [-0.3, 0.3]."""
    t = np.arange(round(seconds * AUDIO_RATE)) / AUDIO_RATE
    return (0.3 * np.sin(2 * np.pi * (220 * t + 110 * t**2 / seconds)))[None].astype(np.float32)


def write(path: Path, scene: Scene) -> None:
    """The clip as H.264 and AAC."""
    import av

    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=scene.rate, options={"crf": "12"})
        video.width, video.height, video.pix_fmt = scene.width, scene.height, "yuv420p"
        audio = container.add_stream("aac", rate=AUDIO_RATE, layout="mono")
        for number in range(scene.frames):
            container.mux(video.encode(av.VideoFrame.from_ndarray(scene.frame(number), format="rgb24")))
        container.mux(video.encode(None))
        samples = sound(scene.frames / scene.rate)
        for start in range(0, samples.shape[1], 1024):
            block = av.AudioFrame.from_ndarray(samples[:, start : start + 1024].copy(), format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = AUDIO_RATE, start, Fraction(1, AUDIO_RATE)
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))


def main() -> None:
    """Write the clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how much of the five seconds")
    given = parser.parse_args()
    write(given.output, Scene(given.width, round(given.seconds * RATE)))


if __name__ == "__main__":
    main()
