"""What all training commands share: what was asked of a run, kept as JSON and compared when it goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from cvtool.errors import BadInputError, UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from cvtool.distributed import Group
    from cvtool.training import RunDirectory


def plain(request: DataclassInstance, *, without: Iterable[str]) -> dict[str, Any]:
    """A request as JSON holds it; `without` names what may differ when a run goes on: places and the device."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(request), default=_text))
    for name in without:
        del found[name]
    return found


class Stateful(Protocol):
    """What can go on from a state."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""


def restore(trainer: Stateful, run: RunDirectory, group: Group | None = None) -> None:
    """Let `trainer` go on from the state in the directory, if there is one; of a group, the first process reads it.

    Raises:
        BadInputError: the state is of something else.
    """
    state = run.load_state() if group is None or group.is_main else None
    if group is not None:
        state = group.from_main(state)
    if state is None:
        return
    try:
        trainer.load_state(state)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise BadInputError(f"'{run.path}': its state does not fit this run. Start again with --overwrite.") from error


def check_same(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """A run may go on with other places and devices, nothing else.

    Raises:
        UsageError: something else differs; it is named.
    """
    changed = sorted(_differences(old, new))
    if changed:
        raise UsageError(
            f"--resume continues the same run, but these differ from it: {', '.join(changed)}. Give them as they were."
        )


def absolute(spec: str, kinds: Container[str]) -> str:
    """The SPEC of a data set, ``KIND:PATH`` or a path, as it means the same in any directory."""
    kind, colon, place = spec.partition(":")
    return f"{kind}:{os.path.abspath(place)}" if colon and kind in kinds else os.path.abspath(spec)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    found = []
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(name), dict):
            found += _differences(old[name], value)
        elif name != "version" and old.get(name) != value:
            found.append("the data set" if name == "data" else name)
    return found


def _text(value: object) -> object:
    return value.value if isinstance(value, Enum) else str(value)
