"""Generators of Fashion-MNIST under one budget of time, and the speed of training and sampling.

    python benchmarks/gan.py quality [--minutes 3] [--only NAMES] # ours, the assignment's, a public DCGAN, the VAE
    python benchmarks/gan.py losses [--minutes 3]                 # every loss of ours
    python benchmarks/gan.py speed                                # pictures a second against the plain loop; memory

Everything is judged by a classifier of its own, trained here on the training split, which no training has seen: the
Fréchet distance of its features to those of the 10,000 test pictures, and how sure it is of samples. Budgets are wall
time with all cores; run it alone on the machine. Rows go to results/gan.jsonl, and what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import kept
import numpy as np
import torch
from torch import Tensor, nn

ROWS = kept.results("gan")
JUDGE = Path(os.environ.get("TMPDIR", "/tmp")) / "cvtool-bench-fashion-judge.safetensors"
SAMPLES, CONFIDENT = 10_000, 0.9
COMPETITIONS = ("quality", "losses")
PARTS = (*COMPETITIONS, "speed")

Sample = Callable[[int], tuple[np.ndarray, np.ndarray | None]]
"""Number of pictures → (N, 28, 28) uint8, and the labels they were made for."""


def data(split: str = "train") -> Any:
    """Fashion-MNIST."""
    from cvtool.gan.datasets import read_pictures

    return read_pictures("fashion-mnist", split=split)


# The judge.


def classifier() -> nn.Sequential:
    """Nine tenths right on the test split; its last hidden layer are the features."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Dropout(0.25), nn.Linear(128, 10),
    )  # fmt: skip


def trained_classifier(epochs: int = 6) -> nn.Sequential:
    """From the last run, or trained now: about two minutes."""
    from safetensors.torch import load_file, save_file

    network = classifier()
    if JUDGE.exists():
        network.load_state_dict(load_file(JUDGE))
        return network.eval()
    torch.manual_seed(0)
    pictures = data()
    adam, steps = torch.optim.Adam(network.parameters()), epochs * (len(pictures) // 128)
    for step in range(steps):
        epoch, place = divmod(step, len(pictures) // 128)
        rows = np.random.default_rng(epoch).permutation(len(pictures))[place * 128 : (place + 1) * 128]
        for group in adam.param_groups:
            group["lr"] = 2e-3 * (1 - step / steps)
        scores = network(signed(pictures.pixels[rows, ..., 0]))
        loss = nn.functional.cross_entropy(scores, torch.from_numpy(pictures.labels[rows].copy()))
        adam.zero_grad()
        loss.backward()
        adam.step()
    save_file(network.state_dict(), JUDGE)
    return network.eval()


def signed(pixels: np.ndarray) -> Tensor:
    """(N, 28, 28) uint8 → (N, 1, 28, 28) in [−1, 1]."""
    return torch.from_numpy(np.array(pixels)).float()[:, None] / 127.5 - 1


@torch.no_grad()
def seen(network: nn.Sequential, pixels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Features (N, 128) float64 and probabilities (N, 10)."""
    hidden = [network[:-2](signed(part)) for part in np.array_split(pixels, len(pixels) // 500)]
    whole = torch.cat(hidden)
    return whole.double(), network[-1](whole).softmax(1)


def judged(network: nn.Sequential, sample: Sample) -> dict[str, float]:
    """What the classifier says of samples."""
    from cvtool.gan.metrics import frechet_distance, moments

    test = data("test")
    real, sure_of_real = seen(network, test.pixels[..., 0])
    pixels, labels = sample(SAMPLES)
    fake, sure = seen(network, pixels)
    found = {
        "fd": float(frechet_distance(moments(real), moments(fake))),
        "confident": float((sure.max(1).values > CONFIDENT).float().mean()),
        "confident_real": float((sure_of_real.max(1).values > CONFIDENT).float().mean()),
    }
    if labels is not None:
        found["as_asked"] = float((sure.argmax(1).numpy() == labels).mean())
        found["as_labelled_real"] = float((sure_of_real.argmax(1).numpy() == test.labels).mean())
    return found


# The contestants: each trains for so many seconds and hands back how to sample.


def ours(seconds: float, networks: dict[str, Any] | None = None, **options: Any) -> tuple[Sample, dict[str, Any]]:
    """`cvtool gan train`, its checks included; the best checkpoint counts, as it does for users."""
    from cvtool.gan.datasets import Pictures
    from cvtool.gan.features import feature_model
    from cvtool.gan.feeding import likely_labels
    from cvtool.gan.options import NetworkOptions, TrainOptions
    from cvtool.gan.sampling import sample
    from cvtool.gan.training import prepare
    from cvtool.tensors import seeded

    pictures = data()
    if networks and str(networks.get("arch", "")).startswith("Arch.cs231n"):
        pictures = Pictures.of(pictures.pixels, name=pictures.name)
    trainer = prepare(
        pictures, NetworkOptions(**(networks or {})), TrainOptions(budget=seconds, **options),
        feature_model("efficientnet-lite0@48"),
    )  # fmt: skip
    best: dict[str, Any] = {}

    def keep(check: Any) -> None:
        if check.is_best:
            best.update(weights={name: each.clone() for name, each in trainer.generator.state_dict().items()})
            best.update(step=check.step, own_fd=round(check.evaluation.fd, 1), coverage=check.evaluation.coverage)

    trainer.run(on_check=keep)
    trainer.generator.load_state_dict(best.pop("weights"))

    def draw(count: int) -> tuple[np.ndarray, np.ndarray | None]:
        chance = seeded(1)
        labels = likely_labels(pictures, count, chance)
        made = sample(trainer.generator, trainer.generator.noise(count, chance), labels)[..., 0]
        return made, None if labels is None else labels.numpy()

    facts = {"steps": trainer.position.step, "recoveries": trainer.position.recoveries, **best}
    return draw, facts


def assignment(arch: str) -> Callable[[float], tuple[Sample, dict[str, Any]]]:
    """The assignment's networks by the assignment's recipe: BCE, Adam 1e-3 (0.5, 0.999), batch 128, even noise.

    Batches come from our feeder, which is quicker than theirs; no average, no checks, the last weights count.
    """

    def train(seconds: float) -> tuple[Sample, dict[str, Any]]:
        from cvtool.gan.feeding import Feeder, to_pixels
        from cvtool.gan.networks import Shape, build
        from cvtool.gan.options import Arch, NetworkOptions

        torch.manual_seed(0)
        generator, discriminator = build(NetworkOptions(arch=Arch(arch), latent=96), Shape(28, 1))
        adams = [torch.optim.Adam(each.parameters(), 1e-3, (0.5, 0.999)) for each in (generator, discriminator)]
        bce, feed = nn.functional.binary_cross_entropy_with_logits, Feeder(data(), 128, 0, torch.device("cpu"))
        noise, start, step = torch.Generator().manual_seed(0), time.perf_counter(), 0
        ones, zeros = torch.ones(128), torch.zeros(128)
        while time.perf_counter() - start < seconds:
            real, _ = feed(step)
            fake = generator(generator.noise(128, noise))
            loss = bce(discriminator(real), ones) + bce(discriminator(fake.detach()), zeros)
            adams[1].zero_grad()
            loss.backward()
            adams[1].step()
            fake = generator(generator.noise(128, noise))
            adams[0].zero_grad()
            bce(discriminator(fake), ones).backward()
            adams[0].step()
            step += 1
        return by_batch(lambda count: to_pixels(generator(generator.noise(count, noise)))[..., 0]), {"steps": step}

    return train


def public_dcgan(seconds: float) -> tuple[Sample, dict[str, Any]]:
    """The most copied DCGAN for small pictures (PyTorch-GAN's dcgan.py), at its own settings.

    32 px (28 with black margins, which are cut off again), noise 100, Adam 2e-4 (0.5, 0.999), batch 64, weights from
    N(0, 0.02), BatchNorm2d(…, 0.8), which sets ε. Its probabilities are logits here.
    """
    from cvtool.gan.feeding import Feeder, to_pixels

    def block(before: int, after: int, norm: bool = True) -> list[nn.Module]:
        found: list[nn.Module] = [nn.Conv2d(before, after, 3, 2, 1), nn.LeakyReLU(0.2), nn.Dropout2d(0.25)]
        return [*found, nn.BatchNorm2d(after, 0.8)] if norm else found

    torch.manual_seed(0)
    generator = nn.Sequential(
        nn.Linear(100, 128 * 8**2), nn.Unflatten(1, (128, 8, 8)), nn.BatchNorm2d(128), nn.Upsample(scale_factor=2),
        nn.Conv2d(128, 128, 3, padding=1), nn.BatchNorm2d(128, 0.8), nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2),
        nn.Conv2d(128, 64, 3, padding=1), nn.BatchNorm2d(64, 0.8), nn.LeakyReLU(0.2),
        nn.Conv2d(64, 1, 3, padding=1), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        *block(1, 16, norm=False), *block(16, 32), *block(32, 64), *block(64, 128), nn.Flatten(), nn.Linear(128 * 4, 1)
    )
    for layer in [*generator.modules(), *discriminator.modules()]:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1, 0.02)
            nn.init.zeros_(layer.bias)
    adams = [torch.optim.Adam(each.parameters(), 2e-4, (0.5, 0.999)) for each in (generator, discriminator)]
    bce, feed = nn.functional.binary_cross_entropy_with_logits, Feeder(data(), 64, 0, torch.device("cpu"))
    ones, zeros, start, step = torch.ones(64, 1), torch.zeros(64, 1), time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        real = nn.functional.pad(feed(step).pictures, (2, 2, 2, 2), value=-1)
        fake = generator(torch.randn(64, 100))
        adams[0].zero_grad()
        bce(discriminator(fake), ones).backward()
        adams[0].step()
        adams[1].zero_grad()
        ((bce(discriminator(real), ones) + bce(discriminator(fake.detach()), zeros)) / 2).backward()
        adams[1].step()
        step += 1
    generator.eval()
    return by_batch(lambda count: to_pixels(generator(torch.randn(count, 100)))[:, 2:-2, 2:-2, 0]), {"steps": step}


def by_batch(make: Callable[[int], np.ndarray]) -> Sample:
    """A `Sample` from what makes so many pictures."""

    def draw(count: int) -> tuple[np.ndarray, None]:
        with torch.no_grad():
            return np.concatenate([make(500) for _ in range(count // 500)]), None

    return draw


def contestants() -> dict[str, Callable[[float], tuple[Sample, dict[str, Any]]]]:
    """By name: seconds → how to sample, and facts."""
    return {
        "cvtool gan train": ours,
        "cvtool gan train --vae": lambda seconds: ours(seconds, vae=True),
        "assignment's DCGAN": assignment("cs231n-dc"),
        "assignment's MLP": assignment("cs231n-mlp"),
        "public DCGAN": public_dcgan,
    }


def losses() -> dict[str, Callable[[float], tuple[Sample, dict[str, Any]]]]:
    """The same for every loss of ours."""
    from cvtool.gan.options import Loss

    return {f"--loss {loss.value}": (lambda seconds, loss=loss: ours(seconds, loss=loss)) for loss in Loss}


def compete(kind: str, all_of: dict[str, Any], minutes: float, only: str | None) -> None:
    """Let each train for as long, unless its row is there."""
    network = trained_classifier()
    done = {(row["name"], row["minutes"]) for row in kept.rows(ROWS) if row["kind"] == kind}
    for name, train in all_of.items():
        if (name, minutes) in done or (only and not any(part in name for part in only.split(","))):
            continue
        sample, facts = train(60 * minutes)
        row = {"kind": kind, "name": name, "minutes": minutes, "threads": torch.get_num_threads()}
        row |= judged(network, sample) | facts
        print(json.dumps(row), flush=True)
        kept.add(ROWS, row)


# Speed.


class OnePicture(torch.utils.data.Dataset):
    """As tutorials have it: from PIL's picture to a normalised tensor, one by one."""

    def __init__(self, pictures: Any) -> None:
        from torchvision import transforms

        self.data = pictures
        self.change = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.change(Image.fromarray(self.data.pixels[row].squeeze())), int(self.data.labels[row])


def plain_loop(seconds: float, pictures: Any = None, device: str = "cpu") -> float:
    """Pictures a second of our default game, written as tutorials write it: same networks, loss, penalty, batch."""
    from cvtool.gan.losses import LOSSES
    from cvtool.gan.networks import Shape, build
    from cvtool.gan.options import NetworkOptions, TrainOptions
    from cvtool.gan.penalties import r1, r2

    options, pictures = TrainOptions(), pictures or data()
    recipe, loss = options.recipe, LOSSES[options.loss.value]
    shape = Shape(pictures.size, pictures.channels, len(pictures.classes))
    generator, discriminator = (each.to(device) for each in build(NetworkOptions(), shape))
    adam_g = torch.optim.Adam(generator.parameters(), recipe.rate_g, (recipe.beta1, recipe.beta2))
    adam_d = torch.optim.Adam(discriminator.parameters(), recipe.rate_d, (recipe.beta1, recipe.beta2))
    loader = torch.utils.data.DataLoader(OnePicture(pictures), options.batch, shuffle=True, drop_last=True)
    step, start = 0, 0.0
    for real, labels in loader:
        real, labels = real.to(device), labels.to(device)
        fake = generator(torch.randn(len(real), generator.latent, device=device), labels)
        terms = loss(discriminator(real, labels), discriminator(fake.detach(), labels))
        value = terms.discriminator
        if step % options.lazy == 0:
            both = r1(discriminator, real, labels) + r2(discriminator, fake, labels)
            value = value + recipe.weight / 2 * options.lazy * both
        adam_d.zero_grad()
        value.backward()
        adam_d.step()
        fake = generator(torch.randn(len(real), generator.latent, device=device), labels)
        adam_g.zero_grad()
        loss(discriminator(real, labels), discriminator(fake, labels)).generator.backward()
        adam_g.step()
        step += 1
        if step == 10:
            start = now(device)
        if step > 10 and time.perf_counter() - start > seconds:
            break
    return (step - 10) * options.batch / (now(device) - start)


def now(device: str) -> float:
    """Seconds, once the device has done what it was told."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def our_loop(seconds: float, precision: str, pictures: Any = None, device: str = "cpu") -> float:
    """Pictures a second of the trainer's own steps, average included, checks not."""
    from cvtool.gan.features import feature_model
    from cvtool.gan.options import NetworkOptions, TrainOptions
    from cvtool.gan.training import prepare

    options = TrainOptions(steps=10**6, every=10**6, precision=precision, samples=100)
    model = feature_model("efficientnet-lite0@48", device=device)
    trainer = prepare(pictures or data(), NetworkOptions(), options, model)
    for _ in range(10):
        trainer._step()
    step, start = 0, now(device)
    while time.perf_counter() - start < seconds:
        trainer._step()
        step += 1
    return step * options.batch / (now(device) - start)


def sampling(seconds: float) -> float:
    """Pictures a second of the bundled generator, by the library."""
    from cvtool.bundled import asset_folder
    from cvtool.gan.checkpoint import BUNDLED, read_checkpoint
    from cvtool.gan.sampling import Sampler

    generator = read_checkpoint(asset_folder() / BUNDLED).generator
    sampler, chance = Sampler(generator), torch.Generator().manual_seed(0)
    z, labels = generator.noise(1024, chance), torch.randint(10, (1024,), generator=chance)
    sampler(z, labels)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        done += len(sampler(z, labels))
    return done / (time.perf_counter() - start)


def speed(seconds: float = 20.0) -> None:
    """Training against the plain loop, in turn, and sampling."""
    row: dict[str, Any] = {"kind": "speed", "threads": torch.get_num_threads()}
    for _ in range(2):  # in turn: machines are noisy
        for name, work in {
            "plain": lambda: plain_loop(seconds),
            "ours_fp32": lambda: our_loop(seconds, "fp32"),
            "ours_auto": lambda: our_loop(seconds, "auto"),
        }.items():
            row.setdefault(name, []).append(round(work()))
    row["sampling"] = round(sampling(seconds))
    row["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(row), flush=True)
    kept.add(ROWS, row)


def table(parts: Sequence[str]) -> str:
    """The rows of these parts, best first within a budget; of speed the last."""
    found = kept.whole_rows(ROWS)
    lines = []
    for kind in COMPETITIONS:
        if kind not in parts:
            continue
        for minutes in sorted({row["minutes"] for row in found if row["kind"] == kind}):
            group = [row for row in found if (row["kind"], row.get("minutes")) == (kind, minutes)]
            course = next((row["fd"] for row in group if row["name"] == "assignment's DCGAN"), None)
            where = _where(group[0])
            lines += [
                f"\n{minutes:g} minutes, {where}\n",
                "| | Fréchet distance | against the assignment's DCGAN | sure (> .9) | class as asked | steps |",
                "| --- " * 6 + "|",
            ]
            for row in sorted(group, key=lambda row: row["fd"]):
                ratio = f"{row['fd'] / course:.2f}" if course else ""
                asked = f"{row['as_asked']:.3f}" if "as_asked" in row else ""
                cells = [row["name"], f"{row['fd']:.1f}", ratio, f"{row['confident']:.3f}", asked, str(row["steps"])]
                lines.append("| " + " | ".join(cells) + " |")
    timed = [row for row in found if row["kind"] == "speed"]
    if timed and "speed" in parts:
        row = timed[-1]
        plain = np.mean(row["plain"])
        lines += [
            f"\n{_where(row)}, peak memory {row['peak_mb']} MB\n",
            "| | pictures/s | ratio |",
            "| --- | --- | --- |",
            *(
                f"| {name} | {np.mean(row[key]):.0f} | {np.mean(row[key]) / plain:.2f} |"
                for name, key in (("plain loop", "plain"), ("ours, fp32", "ours_fp32"), ("ours, auto", "ours_auto"))
            ),
            f"| sampling, bundled generator | {row['sampling']} | |",
        ]
    return "\n".join(lines).strip() + "\n"


def _where(row: dict[str, Any]) -> str:
    return f"{row['threads']} threads, torch {row['at']['versions']['torch']}, {row['at']['date']}"


def main() -> None:
    """One part, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*PARTS, "table"])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--only", help="parts of names, with commas between")
    arguments = parser.parse_args()
    if arguments.part == "speed":
        speed()
    elif arguments.part != "table":
        chosen = contestants() if arguments.part == "quality" else losses()
        compete(arguments.part, chosen, arguments.minutes, arguments.only)
    print(table(PARTS if arguments.part == "table" else [arguments.part]))


if __name__ == "__main__":
    main()
