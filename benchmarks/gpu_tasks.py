"""What `gpu.py` measures: for every technique how to set up the work on a device, and a peer's.

Everything goes through the library with the command's defaults. Pictures are the bundled ones, training data is made
up: speed does not depend on what is seen.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

GPU = "cuda"

Work = Callable[[], float]
"""Does some work; how much of it."""


@dataclass(frozen=True)
class Timed:
    """Work that measures itself.

    Attributes:
        rate: seconds → how much in each.
    """

    rate: Callable[[float], float]


@dataclass(frozen=True)
class Task:
    """One thing to measure.

    Attributes:
        name: of the technique and what is done.
        unit: of what is done in a second.
        ours: for a device.
        peer: the same on the GPU by somebody else, or None.
        peer_name: who that is.
        slow: on a CPU: left out there.
    """

    name: str
    unit: str
    ours: Callable[[str], Work | Timed]
    peer: Callable[[str], Work | Timed] | None = None
    peer_name: str = ""
    slow: bool = False


def pictures(count: int) -> list[Any]:
    """Bundled photographs again and again, float32 (H, W, 3)."""
    from cvtool.bundled import find_asset
    from cvtool.images import read_picture

    names = ("cat", "coffee", "rocket", "astronaut")
    read = [read_picture(find_asset(name).path).pixels for name in names]
    return [read[number % len(read)] for number in range(count)]


def stylize(size: int) -> Callable[[str], Work | Timed]:
    """The optimiser, its default steps."""

    def on(device: str) -> Work:
        from cvtool.models.loader import load
        from cvtool.stylize import StylizeOptions, stylize
        from cvtool.stylize.instant.statistics import ENCODER

        model, (content, style) = load(ENCODER, device=device), pictures(2)
        return lambda: stylize(content, [style], model, StylizeOptions(size=size)).steps

    return on


def instant(size: int) -> Callable[[str], Work | Timed]:
    """The painter, file work left out."""

    def on(device: str) -> Work:
        from cvtool.stylize import StylizeOptions
        from cvtool.stylize.instant.service import load_painter

        painter, (content, style) = load_painter(device=device), pictures(2)

        def work() -> float:
            painter.paint(content, [style], StylizeOptions(size=size))
            return 1

        return work

    return on


def saliency(method: str, count: int) -> Callable[[str], Work | Timed]:
    """Maps of many pictures by one call."""

    def on(device: str) -> Work:
        from cvtool.models.loader import load
        from cvtool.saliency import SaliencyOptions, explain
        from cvtool.saliency.options import Method

        model, some = load("efficientnet-lite0", device=device), pictures(count)
        return lambda: len(explain(some, model, SaliencyOptions(method=Method(method))))

    return on


def captum(method: str) -> Callable[[str], Work | Timed]:
    """captum, one picture after the other, all samples or steps of one at once."""

    def on(device: str) -> Work:
        import captum.attr as attr

        x, module = network_inputs(1, device), whole_network(device)
        target = int(module(x).argmax())
        if method == "smoothgrad":
            tunnel = attr.NoiseTunnel(attr.Saliency(module))

            def work() -> float:
                tunnel.attribute(x, nt_samples=50, nt_samples_batch_size=50, stdevs=0.15, target=target).cpu()
                return 1
        else:
            path = attr.IntegratedGradients(module)

            def work() -> float:
                path.attribute(x, target=target, n_steps=64, method="riemann_middle", internal_batch_size=64).cpu()
                return 1

        return work

    return on


def network_inputs(count: int, device: str) -> Any:
    """(N, 3, 224, 224) in [0, 1]."""
    from cvtool.images import resize
    from cvtool.tensors import to_tensor

    return torch.cat([to_tensor(resize(each, 224, 224, "bicubic")) for each in pictures(count)]).to(device)


def whole_network(device: str) -> Any:
    """The default network with its normalisation inside, its constants on the device, as peers want it."""
    from cvtool.models.loader import load

    model = load("efficientnet-lite0", device=device)
    mean, std = (torch.tensor(each, device=device).view(1, 3, 1, 1) for each in (model.card.mean, model.card.std))
    scale = model.card.scale

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model.module

        def forward(self, x: Any) -> Any:
            return self.inner((x * scale - mean) / std)

    return Whole().eval()


def fool(count: int) -> Callable[[str], Work | Timed]:
    """PGD of 40 steps, targeted."""

    def on(device: str) -> Work:
        from cvtool.fool import FoolOptions, fool
        from cvtool.fool.options import Method, Norm
        from cvtool.fool.service import Victim
        from cvtool.models.cards import Resize
        from cvtool.models.loader import load

        victim = Victim.of(load("efficientnet-lite0", device=device))
        options = FoolOptions(
            method=Method.pgd, norm=Norm.linf, eps=4 / 255, steps=40, confidence=None, minimize=False, levels=None,
            batch=count, resize=Resize.stretch,
        )  # fmt: skip
        some = [each.permute(1, 2, 0).numpy() for each in network_inputs(count, "cpu")]
        return lambda: len(fool(some, victim, options, target=[504] * count))

    return on


def foolbox(count: int) -> Callable[[str], Work | Timed]:
    """foolbox's PGD of as many steps."""

    def on(device: str) -> Work:
        import foolbox
        from foolbox.criteria import TargetedMisclassification

        model = foolbox.PyTorchModel(whole_network(device), bounds=(0, 1), device=device)
        x, goal = network_inputs(count, device), TargetedMisclassification(torch.full((count,), 504, device=device))
        attack = foolbox.attacks.LinfPGD(steps=40)

        def work() -> float:
            attack(model, x, goal, epsilons=4 / 255)[1].cpu()
            return count

        return work

    return on


def visualize(classes: int) -> Callable[[str], Work | Timed]:
    """Pictures of classes as the command makes them."""

    def on(device: str) -> Work:
        from cvtool.models.loader import load
        from cvtool.visualize_class import Target, VisualizeOptions, visualize

        model = load("efficientnet-lite0", device=device)
        targets = [Target(index=number * 7 + 90) for number in range(classes)]
        return lambda: len(visualize(targets, model, VisualizeOptions()))

    return on


def describe(count: int) -> Callable[[str], Work | Timed]:
    """Captions by the bundled captioner, beam search and where it looked included."""

    def on(device: str) -> Work:
        from cvtool.caption import Describer, bundled_checkpoint
        from cvtool.caption import describe as describe_pictures

        describer, some = Describer.of(bundled_checkpoint(), device=device), pictures(count)
        return lambda: len(describe_pictures(some, describer))

    return on


def features(count: int) -> Callable[[str], Work | Timed]:
    """Files into an HDF5 file, as `caption features` makes it."""

    def on(device: str) -> Work:
        from caption import many_pictures

        from cvtool.caption.datasets import CaptionedPicture
        from cvtool.caption.extractor import Extractor, compute_features
        from cvtool.models.loader import load

        folder = Path(tempfile.mkdtemp(prefix="cvtool-bench-"))
        files = many_pictures(folder, count)
        some = [CaptionedPicture(path.name, path, ("a",), "train") for path in files]
        extractor = Extractor(load("efficientnet-lite2", device=device), precision="auto")

        def work() -> float:
            compute_features(some, extractor, folder / "features.h5")
            (folder / "features.h5").unlink()
            return count

        return work

    return on


def words(attention: bool, tutorial: bool) -> Callable[[str], Work | Timed]:
    """Steps of training a captioner, ours or the tutorials' way."""

    def on(device: str) -> Work:
        import caption

        corpus = caption.random_corpus()
        if tutorial:
            step = caption.tutorial(corpus, attention, device)
        else:
            step = caption.ours(corpus, attention, "bf16" if device == GPU else "fp32", device)
        return lambda: sum(step() for _ in range(10 if device == GPU else 1))

    return on


def game(size: int, channels: int, plain: bool) -> Callable[[str], Work | Timed]:
    """Steps of training a generator with ten classes, ours or the tutorials' way; for two seconds at a time."""

    def on(device: str) -> Timed:
        import gan

        from cvtool.gan.datasets import Pictures

        random = np.random.default_rng(0)
        pixels = random.integers(0, 256, (20_000, size, size, channels), dtype=np.uint8)
        classes = [str(number) for number in range(10)]
        data = Pictures.of(pixels, random.integers(0, 10, len(pixels)), classes, "noise")
        run = gan.plain_loop if plain else gan.our_loop
        more = (data, device) if plain else ("auto", data, device)

        return Timed(lambda seconds: run(seconds, *more))

    return on


def samples(device: str) -> Work:
    """The bundled generator."""
    from cvtool.bundled import asset_folder
    from cvtool.gan.checkpoint import BUNDLED, read_checkpoint
    from cvtool.gan.sampling import Sampler

    generator = read_checkpoint(asset_folder() / BUNDLED).generator
    sampler, chance = Sampler(generator, device=torch.device(device)), torch.Generator().manual_seed(0)
    z, labels = generator.noise(1024, chance), torch.randint(10, (1024,), generator=chance)
    return lambda: len(sampler(z, labels))


TASKS = (
    Task("stylize 512 px", "steps", stylize(512), slow=True),
    Task("stylize 1024 px", "steps", stylize(1024), slow=True),
    Task("stylize --instant 512 px", "pictures", instant(512)),
    Task("stylize --instant 1024 px", "pictures", instant(1024)),
    Task("saliency gradient", "pictures", saliency("gradient", 64)),
    Task("saliency smoothgrad", "pictures", saliency("smoothgrad", 16), captum("smoothgrad"), "captum", slow=True),
    Task(
        "saliency integrated-gradients",
        "pictures",
        saliency("integrated-gradients", 16),
        captum("ig"),
        "captum",
        slow=True,
    ),
    Task("fool pgd, 8 together", "pictures", fool(8), foolbox(8), "foolbox"),
    Task("fool pgd, 64 together", "pictures", fool(64), foolbox(64), "foolbox", slow=True),
    Task("visualize-class", "pictures", visualize(1), slow=True),
    Task("visualize-class, 8 classes", "pictures", visualize(8), slow=True),
    Task("caption describe", "pictures", describe(128)),
    Task("caption features", "pictures", features(512)),
    Task("caption train, lstm", "words", words(False, False), words(False, True), "tutorial"),
    Task("caption train, attention", "words", words(True, False), words(True, True), "tutorial"),
    Task("gan train 28 px, grey", "pictures", game(28, 1, False), game(28, 1, True), "plain loop"),
    Task("gan train 32 px, colour", "pictures", game(32, 3, False), game(32, 3, True), "plain loop"),
    Task("gan train 64 px, colour", "pictures", game(64, 3, False), game(64, 3, True), "plain loop", slow=True),
    Task("gan sample 28 px", "pictures", samples),
)
