"""``cvtool models`` and ``cvtool classes``: what there is, for people and for programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def records(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_the_installed_networks_with_purpose_place_and_licence(cvtool) -> None:
    listed = cvtool("models")
    assert (listed.code, listed.err) == (0, "")
    for name in ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "vgg19"):
        (line,) = (line for line in listed.out.splitlines() if line.startswith(f"{name} "))
        assert "features" in line
        assert ("classify" in line) == (name != "vgg19")
        assert "MIT" in line or "Apache-2.0" in line
        assert Path(line.split()[-1]).is_file()


def test_networks_as_json(cvtool) -> None:
    found = {record["model"]: record for record in records(cvtool("models", "--json").out)}
    assert found["vgg19"]["abilities"] == ["features"]
    assert found["vgg19"]["weights_here"] is True
    assert found["vgg19"]["size_mb"] == pytest.approx(Path(found["vgg19"]["path"]).stat().st_size / 1e6, rel=0.01)
    assert all(record["command"] == "models" for record in found.values())


def test_listing_the_installed_networks_imports_no_torch() -> None:
    program = """
import sys
from cvtool.cli.main import run
code = run(["models"]) or run(["classes", "tabby"])
sys.exit(code or 10 * ("torch" in sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize(
    ("text", "index", "wnid"),
    [
        ("tabby", 281, "n02123045"),
        ("TABBY cat", 281, "n02123045"),
        ("n04254680", 805, "n04254680"),
        ("805", 805, "n04254680"),
    ],
)
def test_classes_are_found_by_name_index_and_wordnet_id(cvtool, text: str, index: int, wnid: str) -> None:
    first = records(cvtool("classes", text, "--json").out)[0]
    assert (first["index"], first["wnid"]) == (index, wnid)
    assert first["name"] in first["synonyms"]
    line = cvtool("classes", text).out.splitlines()[1]
    assert line.split()[:2] == [str(index), wnid]


def test_all_thousand_classes_in_order(cvtool) -> None:
    assert [record["index"] for record in records(cvtool("classes", "--json").out)] == list(range(1000))


def test_no_such_class_names_the_nearest(cvtool) -> None:
    done = cvtool("classes", "tabbbby")
    assert (done.code, done.out) == (2, "")
    assert "No class 'tabbbby'. Nearest: tabby" in done.err


def test_no_such_network(cvtool) -> None:
    done = cvtool("models", "efficientnet-lite9")
    assert (done.code, done.out) == (2, "")
    assert "Nearest: efficientnet-lite" in done.err
