"""Fooling against foolbox and torchattacks: success, size of the change, what is left after saving, seconds.

    python benchmarks/fool.py                  # 50 pictures, 16 for the slow attacks; over an hour on two cores
    python benchmarks/fool.py --pictures 4     # a trial

torchattacks pins an old requests: pip install --no-deps torchattacks.

Pictures: ImageNet's, from the folder that CVTOOL_SHARED_DATA names (imagenet-samples), else the bundled photographs;
224 px, as efficientnet-lite0 is evaluated. Targets are drawn with a seed. Every contestant runs in a process of its own
with the same steps, limits and batches of 8; "saved" is what is left when its pictures are rounded to 8 bits. The last
line is the default attack of `cvtool fool` with five targets for each picture: what its saved pictures do.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
MODEL, BATCH, SIDE = "efficientnet-lite0", 8, 224
EPS, EPS_L2 = 4 / 255, 3.0

# attack, targeted, steps, norm, whether it is slow, peers
ROWS = [
    ("fgsm", False, 1, "linf", False, ["foolbox", "torchattacks"]),
    ("bim", True, 10, "linf", False, ["foolbox", "torchattacks"]),
    ("mi-fgsm", True, 10, "linf", False, ["foolbox", "torchattacks"]),
    ("pgd", True, 40, "linf", False, ["foolbox", "torchattacks"]),
    ("pgd", True, 40, "l2", False, ["foolbox", "torchattacks"]),
    ("apgd", False, 40, "linf", False, ["torchattacks"]),
    ("square", False, 200, "linf", True, ["torchattacks"]),
    ("deepfool", False, 50, "l2", False, ["foolbox"]),  # torchattacks' takes the gradients of all 1000 classes
    ("ddn", True, 100, "l2", True, ["foolbox"]),
    ("fmn", True, 100, "l2", True, ["foolbox"]),
    ("cw", True, 300, "l2", True, ["foolbox", "torchattacks"]),
    ("auto", True, 100, "l2", True, []),
]
IN_FILES = "cvtool, 8 bits"
MINIMAL = {"deepfool", "ddn", "fmn", "cw", "auto"}


def pictures(count: int) -> Any:
    """(count, 224, 224, 3): as the network is shown them, on the levels of 8 bits."""
    import numpy as np

    from cvtool.images import flatten, read_picture
    from cvtool.models.cards import CARDS, Resize
    from cvtool.models.framing import frame_for, shown

    folder = Path(os.environ.get("CVTOOL_SHARED_DATA", HERE.parent.parent / "shared" / "data")) / "imagenet-samples"
    files = sorted(folder.glob("*.JPEG"))[:: max(1, 500 // count)] or sorted(
        (HERE.parent / "assets/photos").glob("*.jpg")
    )
    found = []
    for number in range(count):
        pixels = flatten(read_picture(files[number % len(files)]))
        frame = frame_for(*pixels.shape[:2], CARDS[MODEL], Resize.crop, False)
        found.append(np.rint(shown(pixels, frame, CARDS[MODEL]) * 255) / 255)
    return np.stack(found).astype("float32")


def targets_for(count: int, each: int = 1) -> list[int]:
    """Random classes, the same for every contestant."""
    import numpy as np

    return [int(index) for index in np.random.default_rng(0).integers(0, 1000, count * each)]


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
    options = FoolOptions(
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


def contest(row: int, library: str, count: int) -> None:
    """Run one contestant and print what it did."""
    import torch

    attack, targeted, steps, norm, _, _ = ROWS[row]
    make = {
        "cvtool": ours,
        IN_FILES: partial(ours, levels=256),
        "foolbox": with_foolbox,
        "torchattacks": with_torchattacks,
    }[library]
    run = make(attack, targeted, steps, norm)
    x = torch.from_numpy(pictures(count)).permute(0, 3, 1, 2).contiguous()
    targets = targets_for(count)
    module = whole_network()
    with torch.no_grad():
        label = torch.cat([module(part).argmax(1) for part in x.split(BATCH)])
    torch.manual_seed(0)
    started = time.perf_counter()
    found = torch.cat([run(part, targets[i * BATCH : i * BATCH + len(part)]) for i, part in enumerate(x.split(BATCH))])
    seconds = (time.perf_counter() - started) / count

    def fooled(pictures: Any) -> Any:
        with torch.no_grad():
            seen = torch.cat([module(part).argmax(1) for part in pictures.split(BATCH)])
        return seen == torch.tensor(targets) if targeted else seen != label

    good, saved = fooled(found), fooled((found * 255).round() / 255)
    sizes = (
        (found - x).flatten(1).norm(dim=1)[good] if norm == "l2" else (found - x).flatten(1).abs().amax(1)[good] * 255
    )
    middle = float(sizes.median()) if len(sizes) else float("nan")
    print(json.dumps([float(good.float().mean()), float(saved.float().mean()), middle, seconds]))


def default(count: int, each: int) -> None:
    """`cvtool fool` as it comes: every picture with `each` targets."""
    import numpy as np

    from cvtool.fool import FoolOptions, fool
    from cvtool.fool.service import Victim
    from cvtool.models.cards import Resize
    from cvtool.models.loader import load

    victim, shots, targets = Victim.of(load(MODEL)), pictures(count), targets_for(count, each)
    found = []
    started = time.perf_counter()
    for turn in range(each):
        wanted = targets[turn * count : (turn + 1) * count]
        found += fool(list(shots), victim, FoolOptions(resize=Resize.stretch, batch=BATCH), target=wanted)
    seconds = (time.perf_counter() - started) / len(found)
    middle = [float(np.median([getattr(one, name) for one in found])) for name in ("l2", "linf", "ssim")]
    print(json.dumps([float(np.mean([one.success for one in found])), *middle, seconds]))


def ran(*words: object) -> list[float]:
    """What a process of this script prints at its end."""
    done = subprocess.run([sys.executable, __file__, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(count: int, slow: int, only: list[str]) -> str:
    """All contestants by turns."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "foolbox", "torchattacks"))
    lines = [
        f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}",
        "",
        "| attack | aims | steps | by | pictures | fooled | fooled when saved | median change | s a picture |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for number, (attack, targeted, steps, norm, is_slow, peers) in enumerate(ROWS):
        if only and attack not in only:
            continue
        many = slow if is_slow else count
        for library in ("cvtool", *([IN_FILES] if attack in MINIMAL else []), *peers):
            good, saved, middle, seconds = ran("--contest", number, library, "--pictures", many)
            size = f"L2 {middle:.3f}" if norm == "l2" else f"Linf {middle:.1f}/255"
            name, aims = "ddn, fmn, alma" if attack == "auto" else attack, "at a class" if targeted else "away"
            lines.append(
                f"| {name} | {aims} | {steps} | {library} | {many} | {good:.0%} | "
                f"{saved:.0%} | {size} | {seconds:.2f} |"
            )
            print(lines[-1], file=sys.stderr)
    each = 5
    good, l2, linf, alike, seconds = ran("--default", each, "--pictures", count)
    lines += [
        "",
        f"`cvtool fool --target` as it comes, {count} pictures with {each} targets each: {good:.1%} of the saved "
        f"pictures reach a probability of 0.9; median L2 {l2:.2f}, Linf {linf * 255:.0f}/255, SSIM {alike:.4f}; "
        f"{seconds:.2f} s a picture.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=50, help="pictures for each contestant")
    parser.add_argument("--slow", type=int, default=16, help="pictures for the slow attacks, at most --pictures")
    parser.add_argument("--attacks", default="", help="only these, as a,b,c")
    parser.add_argument("--contest", nargs=2, metavar=("ROW", "LIBRARY"), help="run one contestant, for this script")
    parser.add_argument("--default", type=int, metavar="TARGETS", help="run the default attack, for this script")
    args = parser.parse_args()
    if args.contest:
        contest(int(args.contest[0]), args.contest[1], args.pictures)
    elif args.default:
        default(args.pictures, args.default)
    else:
        result = table(args.pictures, min(args.slow, args.pictures), [name for name in args.attacks.split(",") if name])
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "fool.md").write_text(result + "\n")
        print(result)


if __name__ == "__main__":
    main()
