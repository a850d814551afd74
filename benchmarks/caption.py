"""Captioning: speed of training against the tutorial way, of features against the bare network, of describing.

    python benchmarks/caption.py training      # words a second: fused cells against a loop over LSTMCell
    python benchmarks/caption.py features      # pictures a second: into an HDF5 file against the network alone
    python benchmarks/caption.py describe      # a folder, a cold start, and peak memory, by the command itself
    python benchmarks/caption.py quality --data flickr8k:DIR --runs NAME=RUN_DIR ...   # a table of trained captioners
    python benchmarks/caption.py cells --data flickr8k:DIR --keep DIR   # trains one of each kind first: hours

The first three need no data: captions are random with the lengths that people's have, pictures are the bundled ones.
`cells` trains with the command's defaults but for the cell; DIR keeps the runs, and a second start goes on from there.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = ROOT / "assets" / "photos"
RESULTS = ROOT / "benchmarks" / "results" / "caption.md"
PICTURES, CAPTIONS, PLACES, CHANNELS, WORDS = 32, 5, 81, 1280, 2542
SECONDS = 20.0
CELLS = {
    "rnn": ("--cell", "rnn", "--no-attention"),
    "lstm": ("--no-attention",),
    "gru": ("--cell", "gru", "--no-attention"),
    "lstm with attention": (),
}
"""Options of each kind of captioner; attention is the default."""


def machine() -> str:
    """Where this was measured."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "numpy"))
    return (
        f"{date.today()}, {os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}, {versions}"
    )


def rate(work: Callable[[], int], seconds: float = SECONDS) -> float:
    """Things a second; `work` says how many it did."""
    work()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        done += work()
    return done / (time.perf_counter() - start)


def random_corpus() -> Any:
    """A batch of pictures with captions as long as Flickr8k's (mean 10.8 words, deviation 3.7)."""
    from cvtool.caption.batches import Corpus
    from cvtool.caption.vocabulary import END, START

    random = np.random.default_rng(0)

    class Features:
        channels, can_flip = CHANNELS, False
        values = random.random((PICTURES, PLACES, CHANNELS), dtype=np.float32).astype(np.float16)

        def read(self, numbers: Any, flipped: bool) -> Any:
            return self.values[np.asarray(numbers)]

    def caption() -> Any:
        length = int(np.clip(round(random.normal(10.8, 3.7)), 3, 20))
        return np.array([START, *random.integers(4, WORDS, length), END])

    captions = tuple(tuple(caption() for _ in range(CAPTIONS)) for _ in range(PICTURES))
    names = tuple(map(str, range(PICTURES)))
    return Corpus(Features(), tuple(range(PICTURES)), captions, ((("a",),),) * PICTURES, names)


def ours(corpus: Any, attention: bool, precision: str, device: str = "cpu") -> Callable[[], int]:
    """One step of this project's trainer."""
    from cvtool.caption.decoder import Captioner
    from cvtool.caption.options import ModelOptions, TrainOptions
    from cvtool.caption.training import Trainer
    from cvtool.caption.vocabulary import SPECIALS, Vocabulary

    options = ModelOptions(attention=attention, layers=1, hidden=512, embedding=512, tie=False)
    words = Vocabulary((*SPECIALS, *(f"w{number}" for number in range(WORDS - len(SPECIALS)))))
    train = TrainOptions(batch=PICTURES, precision=precision)
    trainer = Trainer(Captioner(options, WORDS, CHANNELS).to(device).train(), corpus, corpus, words, train)

    def step() -> int:
        facts = trainer._learn(list(range(PICTURES)), 1, critical=False)
        return int(facts["tokens"])

    return step


def tutorial(corpus: Any, attention: bool, device: str = "cpu") -> Callable[[], int]:
    """The tutorials' way: one caption a row with its own copy of the features, LSTMCell word by word, scores at once.

    As in sgrvinod's "a PyTorch Tutorial to Image Captioning" (rows sorted by length, finished ones dropped); without
    attention as in yunjey's, but by LSTMCell.
    """
    import torch
    from torch import nn

    rows = sorted(
        ((number, caption) for number, each in enumerate(corpus.captions) for caption in each),
        key=lambda row: -len(row[1]),
    )
    lengths = [len(caption) - 1 for _, caption in rows]
    words = torch.zeros(len(rows), lengths[0] + 1, dtype=torch.long)
    for row, (_, caption) in enumerate(rows):
        words[row, : len(caption)] = torch.from_numpy(caption)

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(WORDS, 512)
            self.start = nn.Linear(CHANNELS, 512)
            self.cell = nn.LSTMCell(512 + (CHANNELS if attention else 0), 512)
            self.places, self.state, self.full = nn.Linear(CHANNELS, 512), nn.Linear(512, 512), nn.Linear(512, 1)
            self.dropout, self.scores = nn.Dropout(0.5), nn.Linear(512, WORDS)

        def forward(self, features: Any) -> Any:
            h = self.start(features.mean(1))
            c = torch.zeros_like(h)
            vectors = self.embedding(words)
            found = torch.zeros(len(rows), lengths[0], WORDS, device=device)
            for place in range(lengths[0]):
                alive = sum(length > place for length in lengths)
                x = vectors[:alive, place]
                if attention:
                    seen = torch.relu(self.places(features[:alive]) + self.state(h[:alive])[:, None])
                    weights = torch.softmax(self.full(seen).squeeze(2), 1)
                    x = torch.cat([x, (features[:alive] * weights[..., None]).sum(1)], 1)
                h, c = self.cell(x, (h[:alive], c[:alive]))
                found[:alive, place] = self.scores(self.dropout(h))
            return found

    decoder, words = Decoder().to(device), words.to(device)
    optimizer = torch.optim.Adam(decoder.parameters(), 4e-4)
    numbers = [number for number, _ in rows]
    mask = (torch.arange(lengths[0])[None] < torch.tensor(lengths)[:, None]).to(device)

    def step() -> int:
        features = torch.from_numpy(corpus.features.read(numbers, False)).to(device).float()
        scores = decoder(features)
        loss = nn.functional.cross_entropy(scores[mask], words[:, 1:][mask])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return sum(lengths)

    return step


def training() -> list[str]:
    """Words a second of training."""
    corpus = random_corpus()
    lines = ["| training, words a second | tutorial | ours, fp32 | ratio | ours, bf16 | ratio |", "| --- " * 6 + "|"]
    for name, attention in (("LSTM", False), ("LSTM with attention", True)):
        peer, plain, half = (
            rate(work)
            for work in (tutorial(corpus, attention), ours(corpus, attention, "fp32"), ours(corpus, attention, "bf16"))
        )
        lines.append(f"| {name} | {peer:.0f} | {plain:.0f} | {plain / peer:.1f} | {half:.0f} | {half / peer:.1f} |")
    return lines


def many_pictures(folder: Path, count: int) -> list[Path]:
    """Windows of the bundled photographs as files."""
    from cvtool.images import encode_picture, read_picture

    found = []
    photos = sorted(PHOTOS.glob("*.jpg"))
    for number in range(count):
        pixels = read_picture(photos[number % len(photos)]).pixels
        shift = number // len(photos) % 40 * 4
        path = folder / f"{number:04d}.jpg"
        path.write_bytes(encode_picture(pixels[shift : shift + 400, shift : shift + 500], "jpg"))
        found.append(path)
    return found


def features(model: str = "efficientnet-lite2") -> list[str]:
    """Pictures a second into a file, and through the network alone."""
    import torch

    from cvtool.caption.datasets import CaptionedPicture
    from cvtool.caption.extractor import CPU_BATCH, Extractor, compute_features
    from cvtool.models.loader import load

    lines = [f"| features of {model}, pictures a second | network alone | into HDF5 | share |", "| --- " * 4 + "|"]
    for precision in ("fp32", "bf16"):
        extractor = Extractor(load(model), precision=precision)
        side = extractor.model.card.input_size
        canvases = list(np.random.default_rng(0).random((CPU_BATCH, side, side, 3), dtype=np.float32))

        def alone(extractor: Extractor = extractor, canvases: list[Any] = canvases) -> int:
            with torch.inference_mode():
                extractor(canvases)
            return CPU_BATCH

        bare = rate(alone)
        with tempfile.TemporaryDirectory() as folder:
            files = many_pictures(Path(folder), 256)
            pictures = [CaptionedPicture(path.name, path, ("a",), "train") for path in files]
            start = time.perf_counter()
            compute_features(pictures, extractor, Path(folder) / "f.h5")
            kept = len(files) / (time.perf_counter() - start)
        lines.append(f"| {precision} | {bare:.1f} | {kept:.1f} | {kept / bare:.0%} |")
    return lines


def describe() -> list[str]:
    """The command itself: a cold start, a folder, memory."""
    command = [sys.executable, "-m", "cvtool", "caption", "describe", "-q"]

    def run(arguments: list[str]) -> float:
        start = time.perf_counter()
        subprocess.run([*command, *arguments], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start

    cold = sorted(run([str(PHOTOS / "cat.jpg")]) for _ in range(3))[1]
    lines = ["| describing | |", "| --- | --- |", f"| one picture, cold start | {cold:.2f} s |"]
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder) / "few", Path(folder) / "many"
        for where, count in ((few, 32), (many, 544)):
            where.mkdir()
            many_pictures(where, count)
        for precision in ("fp32", "bf16"):
            speed = 512 / (run([str(many), "--precision", precision]) - run([str(few), "--precision", precision]))
            lines.append(f"| a folder, beam 5, {precision} | {speed:.1f} pictures/s |")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return [*lines, f"| peak memory | {peak:.2f} GB |"]


def quality(data: str, runs: list[str], features: Path | None = None) -> list[str]:
    """Metrics of trained captioners on a development split; their features are in the runs, or in one file for all."""
    names = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider", "perplexity")
    lines = ["| captioner | read by | " + " | ".join(names) + " |", "| --- " * (len(names) + 2) + "|"]
    for name, folder in (run.split("=", 1) for run in runs):
        for way in (["--decode", "greedy"], ["--beam", "5"]):
            command = [sys.executable, "-m", "cvtool", "caption", "evaluate", "--data", data, "--split", "dev"]
            kept = features or Path(folder) / "features.h5"
            more = ["--features", str(kept)] if kept.exists() and folder != "bundled" else []
            checkpoint = [] if folder == "bundled" else ["--checkpoint", str(Path(folder) / "best.safetensors")]
            done = subprocess.run(
                [*command, *checkpoint, *more, *way, "--json", "-q"], check=True, capture_output=True, text=True
            )
            found = json.loads(done.stdout)
            cells = " | ".join(f"{found[each]:.3f}" for each in names)
            lines.append(f"| {name} | {' '.join(way[-1:] if way[0] == '--decode' else ['beam', way[1]])} | {cells} |")
    return lines


def cells(data: str, keep: Path) -> list[str]:
    """Train a captioner of each kind on the same features; what it took, and its metrics."""
    keep.mkdir(parents=True, exist_ok=True)
    features = keep / "features.h5"
    command = [sys.executable, "-m", "cvtool", "caption"]
    subprocess.run([*command, "features", "--data", data, "-o", str(features)], check=True)
    lines = ["| trained | minutes | peak memory |", "| --- | ---: | ---: |"]
    for name, options in CELLS.items():
        run, cost = keep / name.replace(" ", "-"), keep / f"{name.replace(' ', '-')}.json"
        if not cost.exists():
            start, again = time.perf_counter(), ["--resume"] if run.exists() else []
            train = [*command, "train", "--data", data, "--features", str(features), "-o", str(run), *options, *again]
            process = subprocess.Popen(train)
            _, status, used = os.wait4(process.pid, 0)
            if status:
                raise SystemExit(f"{name}: training ended with exit code {os.waitstatus_to_exitcode(status)}")
            minutes, gigabytes = (time.perf_counter() - start) / 60, used.ru_maxrss / 1e6
            cost.write_text(json.dumps({"minutes": minutes, "gigabytes": gigabytes, "resumed": bool(again)}), "utf-8")
        took = json.loads(cost.read_text("utf-8"))
        time_taken = "resumed" if took["resumed"] else f"{took['minutes']:.0f}"
        lines.append(f"| {name} | {time_taken} | {took['gigabytes']:.1f} GB |")
    runs = [f"{name}={keep / name.replace(' ', '-')}" for name in CELLS]
    return [*lines, "", *quality(data, runs, features)]


def main() -> None:
    """Measure one part and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["training", "features", "describe", "quality", "cells"])
    parser.add_argument("--data", help="for quality and cells")
    parser.add_argument("--runs", nargs="+", default=["bundled=bundled"], help="for quality")
    parser.add_argument("--keep", type=Path, help="for cells")
    arguments = parser.parse_args()
    needs = {"quality": ("data",), "cells": ("data", "keep")}.get(arguments.part, ())
    if missing := [name for name in needs if getattr(arguments, name) is None]:
        parser.error(f"{arguments.part} needs --{' and --'.join(missing)}")
    if arguments.part == "quality":
        lines = quality(arguments.data, arguments.runs)
    elif arguments.part == "cells":
        lines = cells(arguments.data, arguments.keep)
    else:
        lines = {"training": training, "features": features, "describe": describe}[arguments.part]()
    text = "\n".join([machine(), "", *lines])
    print(text)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(text + "\n\n")


if __name__ == "__main__":
    main()
