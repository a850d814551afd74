"""Several processes: how much faster training gets, what they tell each other, and what many inputs cost in memory.

    python benchmarks/scaling.py                 # 1 and 2 processes; about 10 minutes on two cores
    python benchmarks/scaling.py --processes 1 2 4 8
    python benchmarks/scaling.py --quick         # a tenth of the steps and inputs
    python benchmarks/scaling.py --table         # print the tables of the last run again

Training is strong scaling: the same batch, and so the same run, whatever the number of processes; every process has
`--threads` threads. Data is made up and lies in memory, so what is measured is computing and talking. A command over
many inputs is started once for each process with its part of them, as xargs or a job array would ("saliency"), and once
by torchrun with all of them ("shared saliency").
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import kept
import numpy as np

GAN_STEPS, CAPTION_STEPS, REDUCTIONS = 60, 20, 30
BATCH = 32  # of the captioner
PICTURES = 64
COMMANDS = ("saliency", "shared saliency")
INPUTS = (100, 1000, 10_000, 100_000)
WARM_UP = 5  # steps that are not timed


@dataclass(frozen=True)
class Record:
    """One measurement; `seconds` of a step, of a sum of `number` weights, or of a command over `number` inputs."""

    what: str
    processes: int
    threads: int
    number: int
    seconds: float
    peak_mb: float


def peak_mb(who: int = resource.RUSAGE_SELF) -> float:
    """Of this process, or of the largest of its children that have ended."""
    return resource.getrusage(who).ru_maxrss * 1024 / 1e6


# In the processes that torchrun starts.


def worker(what: str, steps: int) -> None:
    """Measure as one of the processes; the first prints the seconds of a step."""
    import torch

    from cvtool.distributed import joined

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    with joined("auto") as group:
        number, seconds = {"gan": play, "caption": learn, "sum": add}[what](group, steps)
        if group.is_main:
            print(json.dumps([number, seconds, peak_mb()]), flush=True)


class Clock:
    """A listener that times the steps after the first few."""

    def __init__(self) -> None:
        self.began, self.steps = 0.0, 0

    def __call__(self) -> None:
        """A step was done."""
        self.steps += 1
        if self.steps == WARM_UP:
            self.began = time.perf_counter()

    def seconds(self) -> float:
        """Of a step."""
        return (time.perf_counter() - self.began) / (self.steps - WARM_UP)


def play(group, steps: int) -> tuple[int, float]:
    """Steps of the default game on 28 px → weights, seconds a step."""
    import torch

    from cvtool.gan.adversarial import Adversarial
    from cvtool.gan.datasets import Pictures
    from cvtool.gan.feeding import Feeder
    from cvtool.gan.networks import Shape, build
    from cvtool.gan.networks.shared_norms import share_batch_norms
    from cvtool.gan.options import Augment, NetworkOptions, TrainOptions

    options = TrainOptions(steps=steps, precision="fp32", augment=Augment.off)
    pixels = np.random.default_rng(0).integers(0, 256, (1024, 28, 28, 1)).astype(np.uint8)
    torch.manual_seed(0)
    pair = [each.to(group.device) for each in build(NetworkOptions(), Shape(28, 1))]
    feed = Feeder(Pictures.of(pixels, None, (), "noise"), options.batch, 0, group.device, group)
    game = Adversarial(*pair, options, group, feed.share)
    share_batch_norms(game.generator, group)
    clock = Clock()
    for number in range(steps + WARM_UP):
        game.step(number, feed, torch.Generator().manual_seed(number), 1.0, 0.0)
        clock()
    group.wait()
    return sum(each.numel() for network in pair for each in network.parameters()), clock.seconds()


def learn(group, steps: int) -> tuple[int, float]:
    """Steps of the default captioner on features of 49 places → weights, seconds a step."""
    from cvtool.caption.batches import Corpus
    from cvtool.caption.decoder import Captioner
    from cvtool.caption.options import ModelOptions, TrainOptions
    from cvtool.caption.training import Trainer
    from cvtool.caption.vocabulary import END, SPECIALS, START, Vocabulary

    channels, words, random = 1280, 3000, np.random.default_rng(0)

    class Memory:
        can_flip = False
        channels = 1280

        def read(self, numbers, flipped):
            """All zeros."""
            return np.zeros((len(numbers), 49, channels), np.float16)

    vocabulary = Vocabulary((*SPECIALS, *(f"w{number}" for number in range(words - len(SPECIALS)))))
    pictures = BATCH * (steps + WARM_UP)
    captions = tuple(
        tuple(np.array([START, *random.integers(len(SPECIALS), words, 11), END]) for _ in range(5))
        for _ in range(pictures)
    )
    names = tuple(str(number) for number in range(pictures))
    corpus = Corpus(Memory(), tuple(range(pictures)), captions, ((("w0",),),) * pictures, names)
    captioner = Captioner(ModelOptions(), words, channels).to(group.device)
    trainer = Trainer(
        captioner, corpus, corpus, vocabulary, TrainOptions(epochs=1, batch=BATCH, precision="fp32"), group
    )
    clock, asked = Clock(), iter(range(10**9))
    trainer.run(
        on_epoch=lambda epoch: None,
        progress=lambda step: clock(),
        stop=lambda: next(asked) == steps + WARM_UP - 1,  # before the development split is judged
    )
    group.wait()
    return sum(each.numel() for each in captioner.parameters()), clock.seconds()


def add(group, steps: int) -> tuple[int, float]:
    """Sums of the gradients of a million weights → weights, seconds a sum."""
    import torch

    weights = torch.nn.Parameter(torch.zeros(1_000_000, device=group.device))
    clock = Clock()
    for _ in range(steps + WARM_UP):
        weights.grad = torch.ones_like(weights)
        group.sum_gradients([weights])
        clock()
    return weights.numel(), clock.seconds()


# In the process that measures.


def training(what: str, processes: int, threads: int, steps: int) -> Record:
    """Start the processes and hear from the first."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    words += [__file__, "--worker", what, "--steps", str(steps)]
    done = subprocess.run(
        words, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, stdout=subprocess.PIPE, text=True, check=True
    )
    number, seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return Record(what, processes, threads, number, seconds, peak)


def command(processes: int, threads: int, pictures: int, shared: bool) -> Record:
    """``cvtool saliency`` over pictures, loading included.

    Either every process is given its part of them (`shared` is False), or torchrun starts processes that share them.
    """
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        chance = np.random.default_rng(0)
        for number in range(pictures):
            pixels = chance.integers(0, 256, (256, 256, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(Path(folder, f"{number:04d}.png"))
        files = sorted(Path(folder).glob("*.png"))
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        together = max(1, pictures // max(8, processes))  # groups for all, and the same whatever their number
        words = ["-m", "cvtool", "saliency", "-o", f"{folder}/out/", "-q", "--batch", str(together)]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        lines = (
            [[*launcher, *words, *files]]
            if shared
            else [[sys.executable, *words, *files[rank::processes]] for rank in range(processes)]
        )
        started = time.perf_counter()
        children = [subprocess.Popen(line, env=environment) for line in lines]
        codes = [child.wait() for child in children]
        if any(codes):
            raise SystemExit(f"a command failed: {codes}")
        seconds = time.perf_counter() - started
    what = "shared saliency" if shared else "saliency"
    return Record(what, processes, threads, pictures, seconds, peak_mb(resource.RUSAGE_CHILDREN))


def listing(inputs: int) -> Record:
    """What a command keeps of its inputs before it reads the first: their names and those of the results."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(inputs):
            Path(folder, f"{number:07d}.png").touch()
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, "--worker", "list", "--folder", folder],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return Record("inputs", 1, 1, inputs, time.perf_counter() - started, float(done.stdout))


def listed(folder: str) -> None:
    """In a process of its own: list a folder, plan the results, print the peak in MB."""
    from cvtool.cli.inputs import expand, paths_of
    from cvtool.cli.outputs import plan_outputs, result_name

    inputs = expand([folder])
    names = [result_name(each.stem, "saliency") for each in inputs]
    kept = plan_outputs(names, output=f"{folder}/out/", format=None, inputs=paths_of(inputs)[:0], json=True)
    print(peak_mb() if len(kept) == len(inputs) else 0)


def measure(processes: list[int], threads: int, share: float) -> list[Record]:
    """Everything; `share` of the steps and inputs."""
    found = []
    for what, steps in (("gan", GAN_STEPS), ("caption", CAPTION_STEPS), ("sum", REDUCTIONS)):
        for each in processes:
            found.append(training(what, each, threads, max(2, int(steps * share))))
            print(found[-1], file=sys.stderr)
    for shared in (False, True):
        for each in processes:
            found.append(command(each, threads, max(8, int(PICTURES * share)), shared))
            print(found[-1], file=sys.stderr)
    for inputs in INPUTS:
        found.append(listing(max(10, int(inputs * share))))
        print(found[-1], file=sys.stderr)
    return found


def tables(records: list[Record]) -> str:
    """As Markdown; efficiency is against one process of as many threads."""
    alone = {each.what: each.seconds for each in records if each.processes == 1}
    lines = ["| what | processes × threads | seconds | speed | efficiency | peak MB a process |", "| --- " * 6 + "|"]
    for each in records:
        if each.what in ("gan", "caption", *COMMANDS) and each.what in alone:
            speed = alone[each.what] / each.seconds
            what = f"{each.what}, {each.number} pictures" if each.what in COMMANDS else f"{each.what}, a step"
            lines.append(
                f"| {what} | {each.processes} × {each.threads} | {each.seconds:.3f} | {speed:.2f} "
                f"| {speed / each.processes:.0%} | {each.peak_mb:.0f} |"
            )
    lines += ["", "| sum of the gradients of a million weights | ms |", "| --- | --- |"]
    lines += [f"| {each.processes} processes | {each.seconds * 1e3:.2f} |" for each in records if each.what == "sum"]
    lines += ["", "| inputs | peak MB |", "| --- | --- |"]
    lines += [f"| {each.number} | {each.peak_mb:.1f} |" for each in records if each.what == "inputs"]
    return "\n".join(lines)


def main() -> None:
    """Measure, keep and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--worker", choices=("gan", "caption", "sum", "list"), help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=10, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker == "list":
        listed(asked.folder)
    elif asked.worker:
        worker(asked.worker, asked.steps)
    else:
        file = kept.results("scaling", asked.quick)
        if not asked.table:
            records = measure(asked.processes, asked.threads, 0.1 if asked.quick else 1.0)
            file.unlink(missing_ok=True)
            for record in records:
                kept.add(file, asdict(record))
        print("\n".join([kept.headline(file, "torch"), "", tables([Record(**row) for row in kept.rows(file)])]))


if __name__ == "__main__":
    main()
