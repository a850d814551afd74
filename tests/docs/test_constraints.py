"""constraints.txt fits what pyproject.toml asks for, and names no place that packages come from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LINES = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
PINS = dict(line.split("==") for line in LINES if not line.startswith("#"))


def test_it_holds_names_and_versions_only() -> None:
    for name, version in PINS.items():
        assert re.fullmatch(r"[a-z0-9-]+", name)
        assert re.fullmatch(r"\d+(\.\d+)*((a|b|rc|\.post|\.dev)\d+)?", version)
    assert list(PINS) == sorted(PINS)


def test_it_fits_what_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for text in (*project["dependencies"], *project["optional-dependencies"]["test"]):
        wanted = Requirement(text)
        assert PINS[canonicalize_name(wanted.name)] in wanted.specifier, text


def test_it_is_of_an_environment() -> None:
    import make_constraints

    found = make_constraints.installed()
    assert found["pytest"] == pytest.__version__
    assert "torch" in found
    assert "+" not in "".join(found.values())


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import make_constraints

    def gone(name: str) -> None:
        raise make_constraints.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(make_constraints.importlib.metadata, "distribution", gone)
    with pytest.raises(SystemExit, match=r"is not installed\. Run: pip install"):
        make_constraints.installed()
