"""Threads wait as the machine is: spinning where it is idle, asleep where others want to run."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvtool.cli import waiting


@pytest.mark.parametrize(
    ("text", "others"),
    [
        ("0.10 0.20 0.30 1/345 6789\n", 0),
        ("9.10 0.20 0.30 3/345 6789\n", 2),
        ("nonsense", 0),
        ("0 0 0 x/y 1", 0),
    ],
)
def test_who_else_wants_to_run(text: str, others: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "loadavg"
    told.write_text(text)
    monkeypatch.setattr(waiting, "RUNNING", told)
    assert waiting.others() == others
    told.unlink()
    assert waiting.others() == 0


def test_who_only_starts_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter(["1.00 0 0 2/9 1"] * 20 + ["1.00 0 0 1/9 1"])

    class Told:
        def read_text(self, encoding: str) -> str:
            return next(told)

    monkeypatch.setattr(waiting, "RUNNING", Told())
    assert waiting.others() == 0
    assert next(told, "nothing") == "nothing"  # and nobody looks any longer


@pytest.mark.parametrize(
    ("others", "known", "expected"),
    [
        (0, {}, None),
        (1, {}, "PASSIVE"),
        (1, {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        (1, {"GOMP_SPINCOUNT": "5"}, None),
    ],
)
def test_how_threads_wait(
    others: int, known: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = dict(known)
    monkeypatch.setattr(waiting.os, "environ", environment)
    monkeypatch.setattr(waiting, "others", lambda: others)
    waiting.wait_as_the_machine_is()
    assert environment.get("OMP_WAIT_POLICY") == expected
