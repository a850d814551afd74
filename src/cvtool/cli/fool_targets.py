"""``cvtool fool --all-targets``: which wrong classes are nearest."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cvtool.cli.console import Console
from cvtool.cli.inputs import Input, read_input
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.errors import Interrupted
from cvtool.fool.options import FoolOptions

if TYPE_CHECKING:
    from cvtool.fool.service import Victim


@dataclass(frozen=True, eq=False)
class Ranking:
    """Ranks the wrong classes of one picture after the other; writes no pictures."""

    console: Console
    options: FoolOptions
    model_name: str
    weights: Path | None
    device_name: str

    @cached_property
    def victim(self) -> Victim:
        """Of a single picture, loaded when that has been read."""
        from cvtool.fool.service import Victim
        from cvtool.models.loader import load

        return Victim.of(load(self.model_name, device=self.device_name, weights=self.weights))

    def prepare(self, total: int) -> None:
        """What is wrong with the network is told once, not for every one of the `total` pictures.

        Raises:
            CvtoolError: as loading it raises them.
        """
        if total > 1:
            _ = self.victim

    def rank(self, given: Input) -> None:
        """Print the nearest wrong classes of one picture.

        Raises:
            Interrupted: Ctrl-C.
            CvtoolError: as reading, loading and attacking raise them.
        """
        from cvtool.fool.nearest import nearest_targets
        from cvtool.images import flatten

        started = time.perf_counter()
        picture, _ = read_input(given)
        self.console.say(
            f"{given.name}: looking for the smallest change to each of {self.options.top_k} classes. "
            "That takes minutes without a GPU; fewer --top-k or --steps take less."
        )
        with stop_on_interrupt() as stop, self.console.progress() as progress:
            rows = nearest_targets(flatten(picture), self.victim, self.options, progress=progress, stop=stop)
            if stop():
                raise Interrupted(f"stopped before the distances of '{given.name}' were known.")
        self.console.result(
            "fool",
            input=given.name,
            output=None,
            model=self.model_name,
            device=str(self.victim.model.device),
            seed=self.options.seed,
            seconds=round(time.perf_counter() - started, 3),
            targets=[asdict(row.target) | {"estimate": row.estimate, "l2": row.l2} for row in rows],
        )
        if not self.console.json and not self.console.quiet:
            self.console.say(given.name)
            cells = [
                (row.target.name, f"{row.target.probability:.2%}", f"{row.estimate:.3f}", _size(row.l2)) for row in rows
            ]
            self.console.table(cells, ("CLASS", "PROBABILITY", "ESTIMATED L2", "SMALLEST L2 FOUND"))


def _size(l2: float | None) -> str:
    return "none" if l2 is None else f"{l2:.3f}"
