"""Whether a run still goes well, decided from the numbers of its checks alone. No torch here.

A rule is a function of all checks so far → why the run is in trouble, in words, or None. All of them compare with the
run's own best, by factors that noise in the metrics of a thousand samples does not reach. A run that just does not
improve any more is not in trouble.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

GRACE = 2
"""First checks in which nothing is wrong but numbers that are none."""
LOST, GONE = 0.5, 0.1
"""Of the best coverage: below the first for two checks in a row, or below the second once, it has collapsed."""
FAR, LOST_FOR_GOOD = 2.0, 4.0
"""Times the best Fréchet distance: the same."""
SATURATED = 0.995
"""Accuracy above which the discriminator teaches nothing …"""
SATURATED_CHECKS = 3
"""… if it stays there for so many checks in which the distance is …"""
WORSE = 1.1
"""… so many times the best, or nothing is covered yet."""
IDLE = 0.525
"""Accuracy below which the discriminator guesses; the same then."""
NOTHING_YET = 0.05
"""Coverage of a generator that has not begun."""
STUCK_CHECKS, STUCK_COVERAGE, STUCK_GAIN, STUCK_ACCURACY = 5, 0.01, 0.95, 0.9
"""A game has not begun when in so many checks coverage stayed below the second, the distance never fell below the third
as a share of the first one measured, and the discriminator wins."""
SIGMAS = 4.0
"""Differences of shares within so many standard deviations are noise; the best of many checks is itself a lucky one."""


@dataclass(frozen=True)
class _Seen:
    """What the rules look at of one check; None where it was not measured."""

    step: int
    fd: float
    coverage: float
    fd_low: float
    fd_high: float
    precision: float | None = None
    accuracy_d: float | None = None
    pictures: int | None = None


class Watch:
    """Looks at one run, check by check."""

    def __init__(self) -> None:
        self._seen: list[_Seen] = []

    def verdict(self, facts: Mapping[str, Any]) -> str | None:
        """Take in a check → None if all is well, else what is wrong, as a clause without a full stop.

        Args:
            facts: ``step``; ``finite`` (False: weights or losses are not numbers); ``fd``, ``coverage`` and, where
                known, ``fd_low``, ``fd_high``, ``precision``, ``samples``, ``reference`` of the evaluation;
                ``accuracy_d``, the discriminator's mean accuracy since the last check. Those that begin with
                ``loss`` have to be finite too. Without ``fd`` only that is looked at; others are not.
        """
        if not facts.get("finite", True):
            return "the networks' numbers are not finite any more"
        for name, value in facts.items():
            if (name in ("fd", "coverage") or name.startswith("loss")) and not math.isfinite(value):
                return f"{name} is not finite any more"
        if "fd" not in facts or "coverage" not in facts:
            return None
        self._seen.append(_seen(facts))
        if len(self._seen) <= GRACE:
            return None
        return next((reason for rule in _RULES if (reason := rule(self._seen))), None)

    def went_back(self) -> None:
        """The run is at its best state again (the smallest Fréchet distance): what came after did not happen."""
        if self._seen:
            del self._seen[self._seen.index(_nearest(self._seen)) + 1 :]

    def state(self) -> dict[str, Any]:
        """Numbers and lists from which `load_state` goes on."""
        return {"checks": [asdict(each) for each in self._seen]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        names = {each.name for each in fields(_Seen)}
        self._seen = [_Seen(**{name: each[name] for name in names & set(each)}) for each in state["checks"]]


def _seen(facts: Mapping[str, Any]) -> _Seen:
    fd = float(facts["fd"])
    return _Seen(
        step=int(facts["step"]),
        fd=fd,
        coverage=float(facts["coverage"]),
        fd_low=float(facts.get("fd_low", fd)),
        fd_high=float(facts.get("fd_high", fd)),
        precision=facts.get("precision"),
        accuracy_d=facts.get("accuracy_d"),
        pictures=min((facts[name] for name in ("samples", "reference") if name in facts), default=None),
    )


def _nearest(checks: Sequence[_Seen]) -> _Seen:
    return min(checks, key=lambda check: check.fd)


def _collapsed(checks: Sequence[_Seen]) -> str | None:
    """Many real pictures had samples near them, and have none now."""
    best, before, now = max(checks, key=lambda check: check.coverage), checks[-2], checks[-1]

    def lost(check: _Seen, share: float) -> bool:
        return check.coverage < share * best.coverage and best.coverage - check.coverage > _noise(best, check)

    if now is _nearest(checks):  # going back would come here
        return None
    if lost(now, GONE) or (lost(now, LOST) and lost(before, LOST)):
        fell = f"coverage fell from {best.coverage:.2f} at step {best.step} to {now.coverage:.2f}"
        repeats = best.precision is not None and now.precision is not None and now.precision > best.precision / 2
        return f"{fell}: the samples repeat a few pictures" if repeats else fell
    return None


def _noise(one: _Seen, other: _Seen) -> float:
    """How far two shares of so many pictures may be apart by chance; a fixed distance where the number is unknown."""
    if not one.pictures or not other.pictures:
        return 0.05
    variances = [check.coverage * (1 - check.coverage) / check.pictures for check in (one, other) if check.pictures]
    return SIGMAS * math.sqrt(sum(variances))


def _diverged(checks: Sequence[_Seen]) -> str | None:
    """The samples got much less like the data."""
    best, before, now = _nearest(checks), checks[-2], checks[-1]
    if _is_far(now, best, LOST_FOR_GOOD) or (_is_far(now, best, FAR) and _is_far(before, best, FAR)):
        return f"the Fréchet distance rose from {best.fd:.3g} at step {best.step} to {now.fd:.3g}"
    return None


def _is_far(check: _Seen, best: _Seen, times: float) -> bool:
    """Beyond what both intervals explain."""
    return check.fd_low > times * best.fd_high


def _saturated(checks: Sequence[_Seen]) -> str | None:
    """The discriminator is never wrong, so the generator learns nothing, and one sees it in the samples."""
    last, best = checks[-SATURATED_CHECKS:], _nearest(checks)
    if len(checks) <= SATURATED_CHECKS or best in last:
        return None
    if any(check.accuracy_d is None or check.accuracy_d <= SATURATED for check in last):
        return None
    if all(_is_far(check, best, WORSE) for check in last) or max(check.coverage for check in last) < NOTHING_YET:
        return (
            f"the discriminator is right in {last[-1].accuracy_d:.1%} of cases "
            f"and the samples got no better since step {best.step}"
        )
    return None


def _idle(checks: Sequence[_Seen]) -> str | None:
    """The discriminator has given up, so nobody holds the generator to the data any more."""
    last, best = checks[-SATURATED_CHECKS:], _nearest(checks)
    if any(check.accuracy_d is None or check.accuracy_d >= IDLE or not _is_far(check, best, WORSE) for check in last):
        return None
    return f"the discriminator only guesses, and the samples got worse since step {best.step}"


def _stuck(checks: Sequence[_Seen]) -> str | None:
    """Nothing was learned from the start on, since the discriminator was better at once."""
    if len(checks) < STUCK_CHECKS or max(check.coverage for check in checks) >= STUCK_COVERAGE:
        return None
    if any(check.accuracy_d is None or check.accuracy_d < STUCK_ACCURACY for check in checks[-STUCK_CHECKS:]):
        return None  # a variational autoencoder may well stay where it soon is
    if _nearest(checks).fd <= STUCK_GAIN * checks[0].fd:
        return None
    return f"the samples are as unlike the data at step {checks[-1].step} as they were at step {checks[0].step}"


_RULES = (_collapsed, _diverged, _saturated, _idle, _stuck)
