"""Progress as small facts: a service reports them, a listener decides how they look."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One fact about running work.

    Attributes:
        stage: what is being done, e.g. ``"256 px"``.
        done: steps finished in this stage.
        total: steps of this stage, 0 when unknown.
        metrics: numbers worth watching, e.g. ``{"loss": 0.12}``.
    """

    stage: str
    done: int
    total: int
    metrics: Mapping[str, float] = field(default_factory=dict)


Progress = Callable[[Step], None]
"""Called with every `Step`; must be quick and must not raise."""

Stop = Callable[[], bool]
"""Asked between steps; True ends the work early with what is finished so far."""


def silent(step: Step) -> None:
    """The default listener: hears everything, says nothing."""


def never() -> bool:
    """The default for `Stop`: nobody asks to stop."""
    return False
