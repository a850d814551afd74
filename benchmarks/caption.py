"""Captioning: speed of training against the tutorial way, of features against the bare network, of describing.

    python benchmarks/caption.py training      # words a second: fused cells against a loop over LSTMCell
    python benchmarks/caption.py features      # pictures a second: into an HDF5 file against the network alone
    python benchmarks/caption.py describe      # a folder, a cold start, and peak memory, by the command itself
    python benchmarks/caption.py quality --data flickr8k:DIR --runs NAME=RUN_DIR ...   # a table of trained captioners
    python benchmarks/caption.py cells --data flickr8k:DIR --keep DIR   # trains one of each kind first: hours
    python benchmarks/caption.py table         # only prints what was measured

The first three need no data: captions are random with the lengths that people's have, pictures are the bundled ones.
`cells` trains with the command's defaults but for the cell; DIR keeps the runs, and a second start goes on from there.
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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import kept
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = ROOT / "assets" / "photos"
RESULTS = kept.results("caption")
PICTURES, CAPTIONS, PLACES, CHANNELS, WORDS = 32, 5, 81, 1280, 2542
SECONDS = 20.0
METRICS = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider", "perplexity")
CELLS = {
    "rnn": ("--cell", "rnn", "--no-attention"),
    "lstm": ("--no-attention",),
    "gru": ("--cell", "gru", "--no-attention"),
    "lstm with attention": (),
}
"""Options of each kind of captioner; attention is the default."""

Row = dict[str, Any]


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


def training() -> Iterator[Row]:
    """Words a second of training."""
    corpus = random_corpus()
    for name, attention in (("LSTM", False), ("LSTM with attention", True)):
        peer, plain, half = (
            rate(work)
            for work in (tutorial(corpus, attention), ours(corpus, attention, "fp32"), ours(corpus, attention, "bf16"))
        )
        yield {"name": name, "tutorial": peer, "fp32": plain, "bf16": half}


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


def features(model: str = "efficientnet-lite2") -> Iterator[Row]:
    """Pictures a second into a file, and through the network alone."""
    import torch

    from cvtool.caption.datasets import CaptionedPicture
    from cvtool.caption.extractor import CPU_BATCH, Extractor, compute_features
    from cvtool.models.loader import load

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
            into_file = len(files) / (time.perf_counter() - start)
        yield {"name": precision, "model": model, "alone": bare, "into_file": into_file}


def describe() -> Iterator[Row]:
    """The command itself: a cold start, a folder, memory."""
    command = [sys.executable, "-m", "cvtool", "caption", "describe", "-q"]

    def run(arguments: list[str]) -> float:
        start = time.perf_counter()
        subprocess.run([*command, *arguments], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start

    cold = sorted(run([str(PHOTOS / "cat.jpg")]) for _ in range(3))[1]
    row: Row = {"name": "describe", "cold": cold}
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder) / "few", Path(folder) / "many"
        for where, count in ((few, 32), (many, 544)):
            where.mkdir()
            many_pictures(where, count)
        for precision in ("fp32", "bf16"):
            row[precision] = 512 / (
                run([str(many), "--precision", precision]) - run([str(few), "--precision", precision])
            )
    yield row | {"peak_gb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6}


def quality(data: str, runs: list[str], features: Path | None = None) -> Iterator[Row]:
    """Metrics of trained captioners on a development split; their features are in the runs, or in one file for all."""
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
            read_by = way[1] if way[0] == "--decode" else f"beam {way[1]}"
            yield {"name": f"{name}, {read_by}", **{each: found[each] for each in METRICS}}


def cells(data: str, keep: Path) -> Iterator[Row]:
    """Train a captioner of each kind on the same features; what it took, and its metrics."""
    keep.mkdir(parents=True, exist_ok=True)
    features = keep / "features.h5"
    command = [sys.executable, "-m", "cvtool", "caption"]
    subprocess.run([*command, "features", "--data", data, "-o", str(features)], check=True)
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
        for row in quality(data, [f"{name}={run}"], features):
            yield row | took


TABLES: dict[str, tuple[str, Callable[[Row], list[str]]]] = {
    "training": (
        "training, words a second | tutorial | ours, fp32 | ratio | ours, bf16 | ratio",
        lambda row: [
            f"{row['tutorial']:.0f}",
            *(cell for way in ("fp32", "bf16") for cell in (f"{row[way]:.0f}", f"{row[way] / row['tutorial']:.1f}")),
        ],
    ),
    "features": (
        "features of efficientnet-lite2, pictures a second | network alone | into HDF5 | share",
        lambda row: [f"{row['alone']:.1f}", f"{row['into_file']:.1f}", f"{row['into_file'] / row['alone']:.0%}"],
    ),
    "describe": (
        "describing | one picture, cold start, s | beam 5, fp32, pictures/s | beam 5, bf16, pictures/s | peak GB",
        lambda row: [f"{row['cold']:.2f}", f"{row['fp32']:.1f}", f"{row['bf16']:.1f}", f"{row['peak_gb']:.2f}"],
    ),
    "quality": (
        " | ".join(("captioner", *METRICS)),
        lambda row: [f"{row[each]:.3f}" for each in METRICS],
    ),
    "cells": (
        " | ".join(("captioner", *METRICS, "minutes", "peak GB")),
        lambda row: [
            *(f"{row[each]:.3f}" for each in METRICS),
            "resumed" if row["resumed"] else f"{row['minutes']:.0f}",
            f"{row['gigabytes']:.1f}",
        ],
    ),
}
"""Of each part: the heads of its columns, and the cells of a row but for the first, its name."""


def table(parts: Sequence[str]) -> str:
    """What was measured last of each thing."""
    lines = [kept.headline(RESULTS, "torch", "numpy")]
    for part in parts:
        head, cells = TABLES[part]
        last = {row["name"]: row for row in kept.rows(RESULTS) if row["part"] == part}
        if last:
            lines += ["", f"| {head} |", "| --- " * (head.count("|") + 1) + "|"]
            lines += ["| " + " | ".join([name, *cells(row)]) + " |" for name, row in last.items()]
    return "\n".join(lines)


def main() -> None:
    """Measure one part and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*TABLES, "table"])
    parser.add_argument("--data", help="for quality and cells")
    parser.add_argument("--runs", nargs="+", default=["bundled=bundled"], help="for quality")
    parser.add_argument("--keep", type=Path, help="for cells")
    arguments = parser.parse_args()
    needs = {"quality": ("data",), "cells": ("data", "keep")}.get(arguments.part, ())
    if missing := [name for name in needs if getattr(arguments, name) is None]:
        parser.error(f"{arguments.part} needs --{' and --'.join(missing)}")
    measure: dict[str, Callable[[], Iterator[Row]]] = {
        "training": training,
        "features": features,
        "describe": describe,
        "quality": lambda: quality(arguments.data, arguments.runs),
        "cells": lambda: cells(arguments.data, arguments.keep),
        "table": lambda: iter(()),
    }
    for row in measure[arguments.part]():
        kept.add(RESULTS, {"part": arguments.part, **row})
    print(table(list(TABLES) if arguments.part == "table" else [arguments.part]))


if __name__ == "__main__":
    main()
