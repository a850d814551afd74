"""What `fool` can be told, with every default in one place. No torch here: the command line reads this."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cvtool.models.cards import Resize


class Method(str, Enum):
    """How a picture is changed until the network sees something else."""

    auto = "auto"
    ascent = "ascent"
    fgsm = "fgsm"
    bim = "bim"
    mi_fgsm = "mi-fgsm"
    pgd = "pgd"
    apgd = "apgd"
    deepfool = "deepfool"
    cw = "cw"
    ddn = "ddn"
    fmn = "fmn"
    alma = "alma"
    jsma = "jsma"
    patch = "patch"
    square = "square"
    boundary = "boundary"
    universal = "universal"


class Norm(str, Enum):
    """How the size of a change is measured, over all pixels and channels, of values in [0, 1]."""

    linf = "linf"
    l2 = "l2"
    l1 = "l1"
    l0 = "l0"


SURE = 0.9
"""Probability that is enough for a picture that is to fool somebody else, too."""


@dataclass(frozen=True)
class FoolOptions:
    """Options of one attack.

    Attributes:
        method: how; ``auto`` takes what is best for the goal.
        norm: of the change; None: with an `eps` linf, if the method measures in it, else the method's first.
        eps: largest change in that norm; None looks for the smallest change that does it.
        steps: iterations; None asks the method.
        step_size: of one iteration, in the unit of eps; None asks the method.
        restarts: random starts of pgd, apgd and square after the first.
        confidence: probability that the wrong class must reach; None: `SURE`, or that it comes first if `eps` limits
            the change or the smallest is looked for.
        minimize: look for the smallest change that makes the wrong class come first, with `confidence` if there is one.
        resize: how the network is shown the picture.
        levels: values that a channel of the written file can have; None leaves the picture unrounded.
        patch: side of the square that ``patch`` may change, as a share of the picture's shorter side.
        patch_robust: make a patch that fools wherever it is put, a bit larger or smaller, a bit turned.
        top_k: number of predictions that are reported.
        batch: pictures at a time.
        seed: seed of everything random.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``; files are judged in fp32.
    """

    method: Method = Method.auto
    norm: Norm | None = None
    eps: float | None = None
    steps: int | None = None
    step_size: float | None = None
    restarts: int = 0
    confidence: float | None = None
    minimize: bool = False
    resize: Resize = Resize.crop
    levels: int | None = 256
    patch: float = 0.3
    patch_robust: bool = False
    top_k: int = 5
    batch: int = 8
    seed: int = 0
    precision: str = "fp32"
