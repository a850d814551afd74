"""What is best for the goal, one attack after the other."""

from __future__ import annotations

import math

from cvtool.fool.options import Method, Norm
from cvtool.fool.problem import Problem
from cvtool.fool.registry import ATTACKS, Kind, attack

SMALLEST = (Method.ddn, Method.fmn, Method.alma)
SURE = (Method.fmn, Method.ddn)
WITHIN = {Norm.l1: Method.pgd, Norm.l0: Method.fmn}
"""What is best within eps, where Auto-PGD knows no way."""


@attack(
    "auto",
    norms=(Norm.l2, Norm.linf, Norm.l1, Norm.l0),
    kind=Kind.minimal,
    steps=100,
    uses=["steps", "step_size", "restarts"],
    paper="the attacks that it calls",
)
def auto(problem: Problem) -> None:
    """Within eps Auto-PGD (L1: PGD, L0: FMN); for the smallest change DDN, FMN and ALMA; else FMN, then DDN."""
    if math.isfinite(problem.eps) and not problem.options.minimize:
        ATTACKS[WITHIN.get(problem.norm, Method.apgd)].run(problem)
    elif problem.norm is not Norm.l2:
        ATTACKS[Method.fmn].run(problem)
    elif problem.options.minimize:
        for method in SMALLEST:
            ATTACKS[method].run(problem)
    else:
        for method in SURE:
            waiting = problem.waiting()
            if len(waiting):
                ATTACKS[method].run(problem.only(waiting))
