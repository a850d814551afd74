"""Apple's GPUs have no float64: nothing that may lie on one is asked for it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from cvtool.caption import decoding
from cvtool.gan import metrics
from cvtool.stylize import losses
from cvtool.stylize.extractor import EVERYWHERE, _Walk, _Wanted
from cvtool.stylize.losses import Moments
from cvtool.stylize.tiles import plan_tiles
from cvtool.tensors import doubled

SOURCE = Path(__file__).parents[1] / "src" / "cvtool"
ALLOWED = {
    "tensors.py": (1, "`doubled` itself"),
    "caption/check.py": (3, "made of NumPy's arrays, on the CPU"),
    "distributed.py": (3, "several processes compute on CPUs or on CUDA, see `Group.device`"),
    "fool/jpeg.py": (1, "a table, on the CPU"),
    "gan/interpolation.py": (5, "noise is drawn on the CPU, and so is the way through it"),
    "gan/penalties.py": (1, "asks for the type, makes none"),
    "stylize/grain.py": (1, "drawn on the CPU"),
    "visualize_class/transforms.py": (1, "drawn on the CPU"),
}
"""Where torch's float64 is named all the same: how often, and why that is no harm."""
APPLE = torch.device("mps")


def asks_for_doubles(tree: ast.AST) -> list[int]:
    """Lines with ``.double`` of anything, or ``torch.float64``."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and (node.attr == "double" or (node.attr == "float64" and ast.unparse(node.value) == "torch"))
    ]


def test_the_reader_sees_all_ways_to_ask() -> None:
    source = "x.double()\ny.to(torch.float64)\ntorch.zeros(2, dtype=torch.double)\nz.astype(np.float64)\ndoubled(x)\n"
    assert asks_for_doubles(ast.parse(source)) == [1, 2, 3]


def test_all_but_a_few_go_through_the_helper() -> None:
    found = {
        path.relative_to(SOURCE).as_posix(): len(asks_for_doubles(ast.parse(path.read_text("utf-8"))))
        for path in sorted(SOURCE.rglob("*.py"))
    }
    assert {name: count for name, count in found.items() if count} == {n: count for n, (count, _) in ALLOWED.items()}


class OnApple(torch.Tensor):
    """Says that it lies on an Apple GPU: has no float64, and does not mix with what lies elsewhere."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == torch.Tensor.device.__get__:
            return APPLE
        if func is torch.Tensor.cpu:
            with torch._C.DisableTorchFunctionSubclass():
                return args[0].as_subclass(torch.Tensor)
        if func is torch.Tensor.double:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        if any(type(each) is torch.Tensor and each.ndim for each in args):
            raise RuntimeError("Expected all tensors to be on the same device")
        return super().__torch_function__(func, types, args, kwargs)


class Apple(TorchFunctionMode):
    """In this block tensors can be made on, and brought to, a pretended Apple GPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.to and any(isinstance(each, torch.device) and each == APPLE for each in args):
            return on_apple(args[0])
        made = func(*args, **{name: value for name, value in kwargs.items() if value is not APPLE})
        return on_apple(made) if any(value is APPLE for value in kwargs.values()) else made


def on_apple(x: torch.Tensor) -> torch.Tensor:
    return x.as_subclass(OnApple)


def drawn(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_doubled() -> None:
    x = drawn(3)
    assert doubled(x).dtype == torch.float64
    assert doubled(x).tolist() == x.tolist()
    assert doubled(x.to("meta")).device.type == "meta"  # any other device keeps its tensors
    with pytest.raises(TypeError, match="float64"):
        on_apple(x).double()
    there = doubled(on_apple(x))
    assert type(there) is torch.Tensor
    assert torch.equal(there, x.double())


def test_words_are_drawn_there() -> None:
    probabilities, uniform = torch.softmax(4 * drawn(2, 3, 9), -1), drawn(2, 3)
    with Apple():
        found = decoding._inverse(on_apple(probabilities), on_apple(uniform))
    assert isinstance(found, OnApple)
    assert found.tolist() == decoding._inverse(probabilities, uniform).tolist()


class Told:
    """As much of a captioner as `follow` asks."""

    def __init__(self, scores: torch.Tensor) -> None:
        self.scores = scores

    def __call__(self, seen: Any, words: torch.Tensor) -> Any:
        return self.scores[None, None, : words.shape[-1]], None, None

    def score(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_captions_are_weighed_there() -> None:
    class Seen:
        def __init__(self, first: torch.Tensor) -> None:
            self.first = first

    scores = drawn(4, 9)
    with Apple():
        logs, _ = decoding.follow(Told(on_apple(scores)), Seen(on_apple(drawn(1))), [5, 7, 4])
    np.testing.assert_array_equal(logs, decoding.follow(Told(scores), Seen(drawn(1)), [5, 7, 4])[0])


def test_styles_are_taken_away_there() -> None:
    several = [losses.moments(drawn(1, 3, 4, width)) for width in (5, 6)]
    wanted = losses.mix_moments(several, [1.5, -0.5])
    with Apple():
        found = losses.mix_moments([Moments(*map(on_apple, each)) for each in several], [1.5, -0.5])
    for one, other in zip(found, wanted, strict=True):
        assert isinstance(one, OnApple)
        assert one.tolist() == other.tolist()


def test_tiles_are_seen_there() -> None:
    picture = drawn(1, 3, 24, 40)

    def seen(padded: torch.Tensor) -> tuple[torch.Tensor, ...]:
        wanted = _Wanted(("a",), ("a",), EVERYWHERE)
        return _Walk(lambda x: {"a": x}, plan_tiles(24, 40, 16, 0, 1), {"a": 1}, {"a": None}, wanted).see(padded)

    with Apple():
        found = seen(on_apple(picture))
    for one, other in zip(found, seen(picture), strict=True):
        assert isinstance(one, OnApple)
        assert one.tolist() == other.tolist()


def test_pictures_are_judged_there() -> None:
    reference, samples = drawn(12, 4), drawn(10, 4)
    wanted = metrics.kernel_distance(reference, samples)
    shares = metrics.neighbourhood(metrics.balls(reference), metrics.balls(samples))
    moments = metrics.moments(samples)
    with Apple():
        assert metrics.kernel_distance(on_apple(reference), on_apple(samples)) == wanted
        balls = metrics.balls(on_apple(reference)), metrics.balls(on_apple(samples))
        assert metrics.neighbourhood(*balls) == shares
        assert torch.equal(metrics.moments(on_apple(samples)).covariance, moments.covariance)
