"""The attacks by name: each is one function, decorated with what one must know to use it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from cvtool.fool.options import Method, Norm
from cvtool.fool.problem import Problem

Attack = Callable[[Problem], None]
"""Moves and asks; `Problem.best` holds what was found."""


class Kind(str, Enum):
    """What an attack looks for."""

    bounded = "any change within eps"
    minimal = "the smallest change"


class Sees(str, Enum):
    """What an attack asks of the network."""

    gradients = "gradients"
    scores = "scores only"
    labels = "labels only"


@dataclass(frozen=True)
class AttackSpec:
    """One attack.

    Attributes:
        method: its name.
        run: the attack.
        norms: it can measure changes in; the first is usual.
        kind: what it looks for.
        steps: iterations unless told otherwise.
        sees: what it asks of the network.
        paper: who described it.
        untargeted_only: it cannot aim at a class.
        together: it makes one change for all pictures, which must be of one size.
        opens: the first that it asks for is the gradient at the originals.
        uses: fields of `FoolOptions` that it looks at, of those that not all attacks do.
    """

    method: Method
    run: Attack
    norms: tuple[Norm, ...]
    kind: Kind
    steps: int
    sees: Sees
    paper: str
    untargeted_only: bool = False
    together: bool = False
    opens: bool = False
    uses: frozenset[str] = frozenset()


ATTACKS: dict[Method, AttackSpec] = {}
"""Every attack by name."""


def attack(
    name: str,
    *,
    norms: tuple[Norm, ...],
    kind: Kind,
    steps: int,
    paper: str,
    sees: Sees = Sees.gradients,
    untargeted_only: bool = False,
    together: bool = False,
    opens: bool = False,
    uses: Iterable[str] = (),
) -> Callable[[Attack], Attack]:
    """Enter the decorated function into `ATTACKS`; the arguments are `AttackSpec`'s."""

    def enter(function: Attack) -> Attack:
        method = Method(name)
        ATTACKS[method] = AttackSpec(
            method, function, norms, kind, steps, sees, paper, untargeted_only, together, opens, frozenset(uses)
        )
        return function

    return enter
