"""From a picture of any size to what a network takes, and from its map back to the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cvtool.images import resampling_matrix, resize
from cvtool.models.cards import ModelCard, Resize
from cvtool.models.loader import Model
from cvtool.tensors import to_batch

Pixels = NDArray[np.float32]

WIDEST = 3.0
"""Aspect up to which a network that takes any size gets the picture's own; beyond, the rest is filled with grey."""


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Frame:
    """Where a picture lies on what the network sees.

    Attributes:
        picture: (height, width) of the picture.
        source: the part of the picture that is shown.
        canvas: (height, width) of the network's input.
        place: where on the canvas that part lies; the rest is filled with the network's mean colour.
    """

    picture: tuple[int, int]
    source: Box
    canvas: tuple[int, int]
    place: Box


def frame_for(height: int, width: int, card: ModelCard, how: Resize, any_size: bool) -> Frame:
    """How a picture of height × width is shown to a network; `any_size`: it takes inputs that are not square."""
    side = card.input_size
    whole, full = Box(0, 0, height, width), Box(0, 0, side, side)
    if how is Resize.stretch:
        return Frame((height, width), whole, (side, side), full)
    if how is Resize.crop:
        seen = max(1, round(min(height, width) * card.crop))
        central = Box((height - seen) // 2, (width - seen) // 2, seen, seen)
        return Frame((height, width), central, (side, side), full)
    own = width / height
    aspect = min(WIDEST, max(1 / WIDEST, own)) if any_size else 1.0
    canvas = (round(side / aspect**0.5), round(side * aspect**0.5))
    if aspect == own:
        return Frame((height, width), whole, canvas, Box(0, 0, *canvas))
    scale = min(canvas[0] / height, canvas[1] / width)
    size = (min(canvas[0], max(1, round(height * scale))), min(canvas[1], max(1, round(width * scale))))
    place = Box((canvas[0] - size[0]) // 2, (canvas[1] - size[1]) // 2, *size)
    return Frame((height, width), whole, canvas, place)


def as_it_is(pixels: Pixels) -> Frame:
    """The frame of a picture (H, W, 3) that is shown to the network pixel by pixel."""
    size = (pixels.shape[0], pixels.shape[1])
    return Frame(size, Box(0, 0, *size), size, Box(0, 0, *size))


def shown(pixels: Pixels, frame: Frame, card: ModelCard) -> Pixels:
    """Picture (H, W, 3) in [0, 1] → what the network sees, (h, w, 3) of the frame's canvas."""
    source, place = frame.source, frame.place
    part = pixels[source.top : source.top + source.height, source.left : source.left + source.width]
    seen = resize(part, place.height, place.width, card.interpolation)
    if (place.height, place.width) == frame.canvas:
        return seen
    mean = np.asarray(card.mean, dtype=np.float32) / np.float32(card.scale)
    canvas = np.empty((*frame.canvas, 3), dtype=np.float32)
    canvas[:] = mean[::-1] if card.channels == "bgr" else mean
    canvas[place.top : place.top + place.height, place.left : place.left + place.width] = seen
    return canvas


def all_shown(pictures: Sequence[Pixels], frames: Sequence[Frame], card: ModelCard) -> list[Pixels]:
    """`shown` for each, several at a time: Pillow resamples outside Python's lock."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(shown, pictures, frames, repeat(card)))


@lru_cache(maxsize=8)  # what wears a picture looks again in every step; large pictures have large matrices
@torch.inference_mode(False)  # what is made while nothing is to be differentiated serves later steps that are
def lens(frame: Frame, card: ModelCard, device: torch.device | str = "cpu") -> Callable[[Tensor], Tensor]:
    """`shown` for tensors: pictures (N, 3, H, W) in [0, 1] → (N, 3, h, w), differentiable.

    Resampling is linear, so it is done by the two matrices that Pillow's filter has for these sizes.
    """
    source, place = frame.source, frame.place
    rows = torch.from_numpy(resampling_matrix(source.height, place.height, card.interpolation)).to(device)
    columns = torch.from_numpy(resampling_matrix(source.width, place.width, card.interpolation)).to(device).T
    grey = torch.tensor(card.mean, device=device).view(1, 3, 1, 1) / card.scale
    grey = grey.flip(1) if card.channels == "bgr" else grey

    def look(x: Tensor) -> Tensor:
        part = x[..., source.top : source.top + source.height, source.left : source.left + source.width]
        seen = (rows.to(x) @ part @ columns.to(x)).clamp(0, 1)
        if (place.height, place.width) == frame.canvas:
            return seen
        canvas = grey.to(x).expand(len(x), 3, *frame.canvas).clone()
        canvas[..., place.top : place.top + place.height, place.left : place.left + place.width] = seen
        return canvas

    return look


def back(map: NDArray[np.float32], frame: Frame) -> NDArray[np.float32]:
    """A map (h, w) of the canvas → (H, W) of the picture, bilinear; 0 where the network did not look."""
    source, place = frame.source, frame.place
    part = map[place.top : place.top + place.height, place.left : place.left + place.width]
    tensor = torch.from_numpy(np.ascontiguousarray(part))[None, None]
    sized = F.interpolate(tensor, (source.height, source.width), mode="bilinear", antialias=True)[0, 0].numpy()
    if (source.height, source.width) == frame.picture:
        return sized
    result = np.zeros(frame.picture, dtype=np.float32)
    result[source.top : source.top + source.height, source.left : source.left + source.width] = sized
    return result


def classify(pixels: Pixels, model: Model, how: Resize, any_size: bool) -> Tensor:
    """What a network says of one picture (H, W, 3) in [0, 1]: logits (K,) on the CPU."""
    return classify_all([pixels], model, how, any_size)[0]


def classify_all(pictures: Sequence[Pixels], model: Model, how: Resize, any_size: bool) -> Tensor:
    """The same of pictures of one size, together: logits (N, K)."""
    frame = frame_for(pictures[0].shape[0], pictures[0].shape[1], model.card, how, any_size)
    x = to_batch(all_shown(pictures, [frame] * len(pictures), model.card), model.device)
    if x.device.type == "cpu":
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        logits: Tensor = model.module(model.normalize(x))
    return logits.float().cpu()


@lru_cache(maxsize=1)
def takes_any_size(model: Model) -> bool:
    """Whether the network takes inputs that are not square, found by trying."""
    side = model.card.input_size
    try:
        with torch.no_grad():
            model.module(torch.zeros(1, 3, side, side + 32, device=model.device))
    except (RuntimeError, AssertionError, ValueError):
        return False
    return True
