"""The versions that an environment has of all that cvtool needs, for ``pip install -c constraints.txt .``

    python docs/make_constraints.py            # of the environment that runs it; writes constraints.txt
    python docs/make_constraints.py --check    # exits with 1 if the environment has other versions

What the tests need is in it, too. Builds (``2.13.0+cpu``) and where packages came from are left out: the file holds names
and versions, nothing else.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import tomllib

from make_common import ROOT, write_or_check
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FILE = ROOT / "constraints.txt"
BEGIN = """# Versions that the whole suite passed with: pip install -c constraints.txt .
# Made by: make constraints, with Python {}
"""
SKIPPED = ("nvidia-", "cuda-", "triton")
"""What torch needs of one kind of machine only, and pins by itself."""


def installed() -> dict[str, str]:
    """Name → version of what the project needs, directly or not, as this environment has it.

    Raises:
        SystemExit: something is not installed.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    waiting = [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"]["test"])]
    found: dict[str, str] = {}
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found or name.startswith(SKIPPED):
            continue
        try:
            package = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            sys.exit(f"{wanted} is not installed. Run: pip install '.[test]'")
        found[name] = package.version.partition("+")[0]
        waiting += _needed_by(package, wanted.extras)
    return found


def _needed_by(package: importlib.metadata.Distribution, extras: set[str]) -> Iterator[Requirement]:
    for text in package.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def text() -> str:
    """``constraints.txt``."""
    return BEGIN.format(".".join(platform.python_version_tuple()[:2])) + "".join(
        f"{name}=={version}\n" for name, version in sorted(installed().items())
    )


if __name__ == "__main__":
    sys.exit(write_or_check({FILE: text()}, "Write constraints.txt."))
