"""Fooling against foolbox and torchattacks: success, size of the change, what is left after saving, seconds.

    python benchmarks/fool.py                        # goes on where the last run ended; a day in all on two cores
    python benchmarks/fool.py --minutes 30 --attacks fgsm,square --threads 1
    python benchmarks/fool.py --table                # only prints what was measured

torchattacks pins an old requests: pip install --no-deps torchattacks, as ``make bench`` does.

Pictures: 50 of ImageNet's, from the folder that CVTOOL_SHARED_DATA names (imagenet-samples), else the bundled
photographs; 224 px, as efficientnet-lite0 is evaluated. Attacks that aim get five targets for each, drawn with a seed.
Each row of results/fool.jsonl is one (attack, tool, picture, target). All tools take turns on the same batch of 8, so
that other work on the machine meets all of them; the seconds are the batch's in equal parts. "Saved" is what is left
when a picture is rounded to 8 bits. The attack "default" is `cvtool fool` as it comes: what its saved pictures do.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import kept

HERE = Path(__file__).resolve().parent
RESULTS = kept.results("fool")
MODEL, BATCH = "efficientnet-lite0", 8
PICTURES, TARGETS = 50, 5
EPS, EPS_L2 = 4 / 255, 3.0


class Row(NamedTuple):
    """An attack as everybody runs it, and who else has it."""

    attack: str
    targeted: bool
    steps: int
    norm: str
    peers: tuple[str, ...]


ROWS = [
    Row("fgsm", False, 1, "linf", ("foolbox", "torchattacks")),
    Row("bim", True, 10, "linf", ("foolbox", "torchattacks")),
    Row("mi-fgsm", True, 10, "linf", ("foolbox", "torchattacks")),
    Row("pgd", True, 40, "linf", ("foolbox", "torchattacks")),
    Row("pgd", True, 40, "l2", ("foolbox", "torchattacks")),
    Row("apgd", False, 40, "linf", ("torchattacks",)),
    Row("square", False, 200, "linf", ("torchattacks",)),
    Row("deepfool", False, 50, "l2", ("foolbox",)),  # torchattacks' takes the gradients of all 1000 classes
    Row("ddn", True, 100, "l2", ("foolbox",)),
    Row("fmn", True, 100, "l2", ("foolbox",)),
    Row("cw", True, 300, "l2", ("foolbox", "torchattacks")),
    Row("auto", True, 100, "l2", ()),
    Row("default", True, 100, "l2", ()),
]
IN_FILES = "cvtool, 8 bits"
MINIMAL = {"deepfool", "ddn", "fmn", "cw", "auto", "default"}
SURE = 0.9
"""What the default reaches for."""


def pictures() -> list[Path]:
    """The files, in the order in which they are taken."""
    folder = Path(os.environ.get("CVTOOL_SHARED_DATA", HERE.parent.parent / "shared" / "data")) / "imagenet-samples"
    files = sorted(folder.glob("*.JPEG"))
    return (files[:: max(1, len(files) // PICTURES)] or sorted((HERE.parent / "assets/photos").glob("*.jpg")))[
        :PICTURES
    ]


def seen(path: Path) -> Any:
    """(3, 224, 224): a picture as the network is shown it, on the levels of 8 bits."""
    import numpy as np
    import torch

    from cvtool.images import flatten, read_picture
    from cvtool.models.cards import CARDS, Resize
    from cvtool.models.framing import frame_for, shown

    pixels = flatten(read_picture(path))
    frame = frame_for(*pixels.shape[:2], CARDS[MODEL], Resize.crop, False)
    levels = np.rint(shown(pixels, frame, CARDS[MODEL]) * 255) / 255
    return torch.from_numpy(levels.astype("float32")).permute(2, 0, 1)


def target_for(path: Path, turn: int) -> int:
    """A random class, the same for every contestant and in every run."""
    import random

    return random.Random(f"{path.stem} {turn}").randrange(1000)


@cache
def whole_network() -> Any:
    """The network with its normalisation inside, as the peers want it."""
    from torch import nn

    from cvtool.models.loader import load

    model = load(MODEL)

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model.module

        def forward(self, x: Any) -> Any:
            return self.inner(model.normalize(x))

    return Whole().eval()


def ours(attack: str, targeted: bool, steps: int, norm: str, levels: int | None = None) -> Callable[..., Any]:
    """This project's; unrounded as the peers' are, or of 8 bits as its command makes them."""
    import torch

    from cvtool.fool import FoolOptions, fool
    from cvtool.fool.options import Method, Norm
    from cvtool.fool.service import Victim
    from cvtool.models.cards import Resize
    from cvtool.models.loader import load

    victim = Victim.of(load(MODEL))
    minimal = attack in MINIMAL
    as_it_comes = FoolOptions(batch=BATCH, resize=Resize.stretch)
    options = (
        as_it_comes
        if attack == "default"
        else FoolOptions(
            method=Method(attack),
            norm=Norm(norm),
            eps=None if minimal else limit(norm),
            steps=steps,
            confidence=None,
            minimize=minimal,
            levels=levels,
            batch=BATCH,
            resize=Resize.stretch,
        )
    )

    def run(x: Any, targets: list[int]) -> Any:
        found = fool(
            [each.permute(1, 2, 0).numpy() for each in x], victim, options, target=targets if targeted else None
        )
        return torch.stack([torch.from_numpy(each.pixels).permute(2, 0, 1) for each in found])

    return run


def limit(norm: str) -> float:
    """The eps of a norm."""
    return EPS if norm == "linf" else EPS_L2


def with_foolbox(attack: str, targeted: bool, steps: int, norm: str) -> Callable[[Any, list[int]], Any]:
    """foolbox's attack of that name, as documented."""
    import foolbox
    import torch
    from foolbox.criteria import Misclassification, TargetedMisclassification

    module = whole_network()
    model = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    attacks = foolbox.attacks
    made = {
        ("fgsm", "linf"): lambda: attacks.LinfFastGradientAttack(),
        ("bim", "linf"): lambda: attacks.LinfBasicIterativeAttack(steps=steps),
        ("mi-fgsm", "linf"): lambda: attacks.LinfMomentumIterativeFastGradientMethod(steps=steps),
        ("pgd", "linf"): lambda: attacks.LinfPGD(steps=steps),
        ("pgd", "l2"): lambda: attacks.L2PGD(steps=steps),
        ("deepfool", "l2"): lambda: attacks.L2DeepFoolAttack(steps=steps),
        ("ddn", "l2"): lambda: attacks.DDNAttack(steps=steps),
        ("fmn", "l2"): lambda: attacks.L2FMNAttack(steps=steps),
        ("cw", "l2"): lambda: attacks.L2CarliniWagnerAttack(binary_search_steps=5, steps=steps // 5),
    }[attack, norm]()

    def run(x: Any, targets: list[int]) -> Any:
        with torch.no_grad():
            label = module(x).argmax(1)
        goal = TargetedMisclassification(torch.tensor(targets)) if targeted else Misclassification(label)
        _, clipped, _ = made(model, x, goal, epsilons=None if attack in MINIMAL else limit(norm))
        return clipped.detach()

    return run


def with_torchattacks(attack: str, targeted: bool, steps: int, norm: str) -> Callable[[Any, list[int]], Any]:
    """torchattacks' attack of that name, as documented."""
    import torch
    import torchattacks

    module = whole_network()
    made = {
        ("fgsm", "linf"): lambda: torchattacks.FGSM(module, eps=EPS),
        ("bim", "linf"): lambda: torchattacks.BIM(module, eps=EPS, alpha=2.5 * EPS / steps, steps=steps),
        ("mi-fgsm", "linf"): lambda: torchattacks.MIFGSM(module, eps=EPS, alpha=2.5 * EPS / steps, steps=steps),
        ("pgd", "linf"): lambda: torchattacks.PGD(module, eps=EPS, alpha=2.5 * EPS / steps, steps=steps),
        ("pgd", "l2"): lambda: torchattacks.PGDL2(module, eps=EPS_L2, alpha=2.5 * EPS_L2 / steps, steps=steps),
        ("apgd", "linf"): lambda: torchattacks.APGD(module, eps=EPS, steps=steps, loss="dlr"),
        ("square", "linf"): lambda: torchattacks.Square(module, eps=EPS, n_queries=steps),
        ("deepfool", "l2"): lambda: torchattacks.DeepFool(module, steps=steps),
        ("cw", "l2"): lambda: torchattacks.CW(module, c=1, steps=steps),
    }[attack, norm]()

    def run(x: Any, targets: list[int]) -> Any:
        with torch.no_grad():
            label = module(x).argmax(1)
        if targeted:
            made.set_mode_targeted_by_label(quiet=True)
            return made(x, torch.tensor(targets)).detach()
        return made(x, label).detach()

    return run


@cache
def contestant(row: Row, tool: str) -> Callable[[Any, list[int]], Any]:
    """One tool's attack: pictures (N, 3, H, W) and targets → changed pictures."""
    make = {
        "cvtool": partial(ours, levels=256) if row.attack == "default" else ours,
        IN_FILES: partial(ours, levels=256),
        "foolbox": with_foolbox,
        "torchattacks": with_torchattacks,
    }[tool]
    return make(row.attack, row.targeted, row.steps, row.norm)


def tools(row: Row) -> list[str]:
    """Who takes part."""
    in_files = [IN_FILES] if row.attack in MINIMAL and row.attack != "default" else []
    return ["cvtool", *in_files, *row.peers]


def name_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a row is about."""
    return (row["attack"], row["norm"], row["steps"], row["tool"], row["picture"], row["target"])


def work(count: int, targets: int, wanted: list[str]) -> Iterator[tuple[Row, str, list[Path], list[int]]]:
    """All that is to be measured, in an order that leaves every attack about as far as the others."""
    files = pictures()[:count]
    for turn in range(targets):
        for start in range(0, len(files), BATCH):
            some = files[start : start + BATCH]
            for row in ROWS:
                if (not wanted or row.attack in wanted) and (row.targeted or turn == 0):
                    for tool in tools(row):
                        yield row, tool, some, [target_for(path, turn) for path in some]


def measure(minutes: float, count: int, targets: int, wanted: list[str]) -> None:
    """Run what is not in the results yet."""
    import torch

    end, done = time.monotonic() + 60 * minutes, {name_of(row) for row in kept.rows(RESULTS)}
    warm = False
    for row, tool, files, classes in work(count, targets, wanted):
        rows = [
            {"attack": row.attack, "norm": row.norm, "steps": row.steps, "tool": tool, "picture": path.stem}
            | {"target": index if row.targeted else None}
            for path, index in zip(files, classes, strict=True)
        ]
        if all(name_of(each) in done for each in rows):
            continue
        if time.monotonic() > end:
            return
        x = torch.stack([seen(path) for path in files])
        if not warm:
            contestant(ROWS[0], "cvtool")(x, classes)
            warm = True
        common = {"batch": len(files), "threads": torch.get_num_threads(), "load": round(os.getloadavg()[0], 1)}
        for each, found in zip(rows, attacked(row, tool, x, classes), strict=True):
            if name_of(each) not in done:
                kept.add(RESULTS, each | found | common)


def attacked(row: Row, tool: str, x: Any, classes: list[int]) -> list[dict[str, Any]]:
    """Run one contestant on a batch; what it did to each picture."""
    import torch

    from cvtool.similarity import ssim
    from cvtool.tensors import to_pixels

    run, module = contestant(row, tool), whole_network()
    with torch.no_grad():
        label = module(x).argmax(1)
    torch.manual_seed(0)
    started = time.perf_counter()
    found = run(x, classes)
    seconds = (time.perf_counter() - started) / len(x)

    def fooled(pictures: Any) -> list[bool]:
        with torch.no_grad():
            chances = module(pictures).softmax(1)
        first = chances.argmax(1) == torch.tensor(classes) if row.targeted else chances.argmax(1) != label
        sure = chances.amax(1) >= SURE - 1e-3 if row.attack == "default" else torch.ones_like(first)
        return [bool(each) for each in first & sure]

    change = (found - x).flatten(1)
    columns = zip(
        fooled(found), fooled((found * 255).round() / 255), change.norm(dim=1), change.abs().amax(1), strict=True
    )
    return [
        {
            "fooled": good,
            "saved": saved,
            "l2": round(float(l2), 4),
            "linf": round(float(linf) * 255, 3),
            "ssim": round(ssim(to_pixels(x[number]), to_pixels(found[number])), 5),
            "seconds": round(seconds, 4),
        }
        for number, (good, saved, l2, linf) in enumerate(columns)
    ]


def table() -> str:
    """One line per contestant, over the pictures and targets that all contestants of its attack have done."""
    lines = [
        kept.headline(RESULTS, "torch", "foolbox", "torchattacks"),
        "",
        "| attack | aims | steps | by | pictures | pairs | fooled | fooled when saved | median change | s a picture |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    found: dict[tuple[Any, ...], dict[tuple[Any, ...], dict[str, Any]]] = defaultdict(dict)
    for each in kept.rows(RESULTS):
        *contest, picture, target = name_of(each)
        found[tuple(contest)][picture, target] = each
    for row in ROWS:
        by_tool = {tool: found[row.attack, row.norm, row.steps, tool] for tool in tools(row)}
        common = set.intersection(*(set(each) for each in by_tool.values()))
        if common:
            lines += [line(row, tool, [each[key] for key in sorted(common, key=str)]) for tool, each in by_tool.items()]
    return "\n".join(lines)


def line(row: Row, tool: str, rows: list[dict[str, Any]]) -> str:
    """One contestant."""
    good = [each for each in rows if each["fooled"]]
    unit = "L2 {:.3f}" if row.norm == "l2" else "Linf {:.1f}/255"
    size = unit.format(statistics.median(each[row.norm] for each in good)) if good else "–"
    if row.attack == "default" and good:
        more = [statistics.median(each[name] for each in good) for name in ("linf", "ssim")]
        size += f", Linf {more[0]:.0f}/255, SSIM {more[1]:.4f}"
    by_threads: dict[int, list[float]] = defaultdict(list)
    for each in rows:
        by_threads[each["threads"]].append(each["seconds"])
    times = [f"{statistics.median(each):.3f} ({threads} threads)" for threads, each in sorted(by_threads.items())]
    seconds = ", ".join(times).replace("(1 threads)", "(1 thread)")
    shares = " | ".join(f"{sum(each[name] for each in rows) / len(rows):.1%}" for name in ("fooled", "saved"))
    name, aims = "ddn, fmn, alma" if row.attack == "auto" else row.attack, "at a class" if row.targeted else "away"
    count = len({each["picture"] for each in rows})
    return f"| {name} | {aims} | {row.steps} | {tool} | {count} | {len(rows)} | {shares} | {size} | {seconds} |"


def main() -> None:
    """Measure for a while, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1e6, help="begin nothing new after that")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="only the first so many")
    parser.add_argument("--targets", type=int, default=TARGETS, help="for each picture, where an attack aims")
    parser.add_argument("--attacks", default="", help="only these, as a,b,c")
    parser.add_argument("--threads", type=int, help="of torch; all cores by default")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    if not arguments.table:
        import torch

        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        wanted = [name for name in arguments.attacks.split(",") if name]
        measure(arguments.minutes, arguments.pictures, arguments.targets, wanted)
    print(table())


if __name__ == "__main__":
    main()
