"""Runs that one process and several must bring to the same end. As a script: one of the several (`test_equality`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from captioners import VOCABULARY, corpus, sentences, tiny
from torch import Tensor, nn

from cvtool.caption.datasets import CaptionedPicture
from cvtool.caption.decoder import Captioner
from cvtool.caption.extractor import Extractor
from cvtool.caption.finetuning import FineTuner, Sight
from cvtool.caption.options import ModelOptions
from cvtool.caption.options import TrainOptions as CaptionOptions
from cvtool.caption.pictures import KeptRows
from cvtool.caption.preparation import Source, corpus_of
from cvtool.caption.training import Trainer as CaptionTrainer
from cvtool.distributed import Group, joined
from cvtool.gan.adversarial import Adversarial
from cvtool.gan.datasets import Pictures
from cvtool.gan.evaluation import Judge
from cvtool.gan.feeding import Feeder
from cvtool.gan.networks import Shape, build
from cvtool.gan.options import Arch, Augment, Loss, NetworkOptions, TrainOptions
from cvtool.gan.training import CollapseError, reference_pictures
from cvtool.gan.training import Trainer as GanTrainer
from cvtool.gan.variational import Variational
from cvtool.models.cards import CARDS
from cvtool.models.loader import Model

CPU = torch.device("cpu")
STEPS = 21
WORDS = CaptionOptions(epochs=7, batch=4, rate=1e-2, warmup=2, longest=8, smoothing=0.1, decay=0.01, patience=99)
PLAY = TrainOptions(steps=STEPS, every=STEPS, batch=17, samples=100, precision="fp32", augment=Augment.off)
SLOW = replace(PLAY, loss=Loss.wgan_gp, rate_g=1e-4, rate_d=1e-4)
"""At ten times these rates one process differs from itself by 2e-4 in three steps if weights begin one bit apart."""


def tell(group: Group, losses: list, module: torch.nn.Module, **more: object) -> dict:
    """What is compared."""
    weights = {name: value.detach().clone() for name, value in module.state_dict().items()}
    return {"losses": losses, "weights": weights, **more}


def words(group: Group, options: CaptionOptions = WORDS, **shape: object) -> dict:
    """Nine pictures in batches of four: the last has one, so that the first of two processes has none."""
    texts = sentences(22)
    data = corpus([texts[:2], *([text] for text in texts[2:10])], flips=True)
    judged = corpus([[text] for text in texts[11:14]], seed=1)
    captioner = tiny(sharp=1.0, **{"dropout": 0.3, "layers": 2, **shape}).requires_grad_(True)
    trainer = CaptionTrainer(captioner, data, judged, VOCABULARY, options, group)
    losses: list = []
    epochs: list = []
    trainer.run(on_epoch=epochs.append, progress=lambda step: losses.append(step.metrics["loss"]))
    return tell(group, losses, captioner, told=len(epochs), cider=trainer.position.best)


class Small(nn.Module):
    """Two convolutions with a batch norm, a map of 4 × 4 places, and a classifier that features do not need."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.act = nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.conv2(torch.tanh(self.norm(self.conv1(x))))).mean((2, 3)))


def tune(group: Group) -> dict:
    """The network that sees is trained, too; each picture is mirrored or not."""
    torch.manual_seed(3)
    card = replace(CARDS["efficientnet-lite0"], name="small", input_size=16, classes=4)
    extractor = Extractor(Model(Small().eval().requires_grad_(False), card, CPU, "0" * 12), fold=False)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3)).astype(np.uint8)
    framed = KeptRows(Path("nowhere"), {str(number): number for number in range(12)}, pixels)
    sight = Sight(framed, extractor, attention=True)
    captioner = Captioner(ModelOptions(hidden=8, embedding=5, dropout=0.2), len(VOCABULARY), sight.channels)
    source = Source(sight, dict(framed.rows), "small", extractor.origin.fingerprint)
    pictures = [CaptionedPicture(str(n), None, (text,), "train") for n, text in enumerate(sentences(12))]
    training, judged = (corpus_of(part, source, VOCABULARY, 8) for part in (pictures[:9], pictures[9:]))
    options = replace(WORDS, finetune=True, finetune_rate=2e-3)
    trainer = FineTuner(captioner, training, judged, VOCABULARY, options, sight, group)
    losses: list = []
    epochs: list = []
    trainer.run(on_epoch=epochs.append, progress=lambda step: losses.append(step.metrics["loss"]))
    weights = {name: value.detach().clone() for name, value in trainer.weights().items()}
    return {"losses": losses, "weights": weights, "told": len(epochs), "cider": trainer.position.best}


def bars(count: int = 60, size: int = 8) -> Pictures:
    """Upright bars (class 0) and level ones (class 1) on noise, at random places."""
    chance = np.random.default_rng(0)
    labels = chance.integers(0, 2, count)
    pixels = chance.integers(0, 30, (count, size, size, 1)).astype(np.uint8)
    for picture, label, place in zip(pixels, labels, chance.integers(0, size - 1, count), strict=True):
        if label:
            picture[place : place + 2] = 230
        else:
            picture[:, place : place + 2] = 230
    return Pictures.of(pixels, labels, ("upright", "level"), "bars")


class Pooled:
    """Features that need no network: means of 2 by 2 pixels."""

    name = "pooled"
    device = CPU

    def features(self, pictures, *, progress=None):
        n, h, w, c = pictures.shape
        return pictures.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4)).reshape(n, -1).astype(np.float32) / 255


def play(group: Group, options: TrainOptions = PLAY, **networks: object) -> dict:
    """A game on batches of 17 pictures, which two processes cannot share evenly."""
    data = bars()
    torch.manual_seed(options.seed)
    pair = build(NetworkOptions(**{"width": 8, "latent": 8, **networks}), Shape(8, 1, len(data.classes)))
    feed = Feeder(data, options.batch, options.seed, CPU, group)
    game = (Variational if options.vae else Adversarial)(*pair, options, group, feed.share)
    judge = Judge(reference_pictures(data, options), Pooled()) if group.is_main else None
    trainer = GanTrainer(game, feed, judge, options, group)
    losses: list = []
    checks: list = []
    trainer.run(on_check=checks.append, progress=lambda step: losses.append(list(step.metrics.values())))
    networks_of = torch.nn.ModuleList([game.generator, game.encoder if options.vae else game.discriminator])
    return tell(group, losses, networks_of, told=len(checks), best=trainer.position.best)


def play_for(group: Group, options: TrainOptions) -> GanTrainer:
    """A run that has not begun."""
    torch.manual_seed(options.seed)
    feed = Feeder(bars(), options.batch, options.seed, CPU, group)
    pair = build(NetworkOptions(arch=Arch.mlp, width=4, latent=4), Shape(8, 1, 2))
    judge = Judge(reference_pictures(feed.data, options), Pooled()) if group.is_main else None
    return GanTrainer(Adversarial(*pair, options, group, feed.share), feed, judge, options, group)


def by_the_clock(group: Group) -> list[int]:
    """Steps of a run that ends by a budget of time, though every process has a clock of its own."""
    trainer = play_for(group, replace(PLAY, steps=None, budget=1.0, every=None))
    trainer.run(on_check=lambda check: None)
    return [trainer.position.step, trainer.position.total, trainer.position.every]


def collapses(group: Group) -> str:
    """What every process makes of a run that comes to nothing."""
    try:
        play_for(group, replace(PLAY, rate_g=1e30, rate_d=1e30, every=3)).run(on_check=lambda check: None)
    except CollapseError as error:
        return str(error)
    return ""


def tell_each_other(group: Group) -> dict:
    """What the parts of `Group` give each process."""
    share = group.share(5)
    mine = torch.arange(5.0)[share.rows]
    weights = [torch.nn.Parameter(torch.zeros(2, 3).t()), torch.nn.Parameter(torch.zeros(2)), torch.zeros(1)]
    weights[0].grad = torch.full((2, 3), float(group.rank + 1)).t()
    if group.rank == 1:
        weights[1].grad = torch.ones(2)
    group.sum_gradients(weights)
    return {
        "sums": group.sums({"a": 1.0 + group.rank, "b": 0.1}),
        "means": group.means({"mean": mine.mean()}, share),
        "any": [group.any(group.rank == 1), group.any(False)],
        "gathered": group.gathered(mine, share),
        "deviation": group.deviation(mine),
        "gradients": [each.grad for each in weights],
        "strides": [list(each.grad.stride()) for each in weights[:1]],
        "main": group.from_main({"tensor": mine, "text": f"{group.rank}", "none": None, "list": [1, 2.5]}),
    }


SCENARIOS: dict[str, Callable[[Group], dict]] = {
    "attention": lambda group: words(group, attention=True, tie=True),
    "no attention": lambda group: words(group, attention=False, tie=False),
    "scheduled": lambda group: words(group, replace(WORDS, scheduled=0.7), cell="gru", attention=True),
    "self-critical": lambda group: words(
        group, replace(WORDS, epochs=2, scst=5, scst_rate=1e-3, scst_samples=3, scst_anchor=0.2), attention=True
    ),
    "fine-tuning": tune,
    "gan": play,
    "gan, gradient penalty": lambda group: play(group, SLOW, arch=Arch.mlp),
    "gan, dragan": lambda group: play(
        group, replace(PLAY, loss=Loss.dragan, augment=Augment.diff, instance_noise=0.1, lazy=2)
    ),
    "gan, hinge": lambda group: play(group, replace(PLAY, loss=Loss.hinge), arch=Arch.resnet, spectral=True),
    "gan, neighbours": lambda group: play(group, replace(PLAY, batch=16), minibatch_std=True),
    "vae": lambda group: play(group, replace(PLAY, vae=True)),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined("cpu") as own:
        found = {name: scenario(own) for name, scenario in SCENARIOS.items()}
        found |= {"clock": by_the_clock(own), "collapse": collapses(own), "told": tell_each_other(own)}
        torch.save(found, Path(sys.argv[1]) / f"{own.rank}.pt")
    os._exit(0)  # as the program ends: threads of process groups may not survive it when Python takes itself apart
