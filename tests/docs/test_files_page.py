"""docs/files.md names what the code reads, writes and tells."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
from make_common import EXIT_CODES
from make_man import ENVIRONMENT

from cvtool.cli.caption_files import CAPTION_SUFFIXES
from cvtool.cli.stylize_instant_trainer import NAME
from cvtool.files import PICTURE_SUFFIXES
from cvtool.images import SUFFIXES
from cvtool.training import BEST, CONFIG, LAST, METRICS, STATE

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "files.md").read_text("utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")}
KEYS = {
    command: set(re.findall(r"`(\w+)`", rest))
    for command, rest in re.findall(r"^\| `([a-z -]+)` \| (.+) \|$", SECTIONS["JSON"], re.MULTILINE)
}
COMMON = {"input", "output", "model", "device", "seed", "seconds"}


@cache
def told() -> dict[str, set[str]]:
    """Command → the keys that the calls of `Console.result` name."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "src" / "cvtool" / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "result":
                command = node.args[0].value if isinstance(node.args[0], ast.Constant) else NAME
                if path.stem != "batch":  # of any command
                    found.setdefault(command, set()).update(each.arg for each in node.keywords if each.arg)
    return {command: names - COMMON for command, names in found.items()}


def keys_of(function: str, module: str) -> set[str]:
    """The keys of the dictionaries that a function writes out."""
    tree = ast.parse((ROOT / "src" / "cvtool" / "cli" / f"{module}.py").read_text("utf-8"))
    (body,) = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function]
    keys = [key for node in ast.walk(body) if isinstance(node, ast.Dict) for key in node.keys]
    return {key.value for key in keys if isinstance(key, ast.Constant)}


def test_every_command_that_tells_results_has_its_row() -> None:
    assert KEYS.keys() == told().keys()


@pytest.mark.parametrize("command", sorted(KEYS))
def test_every_key_is_named(command: str) -> None:
    assert told()[command] - KEYS[command] == set()


@pytest.mark.parametrize("command", ["saliency", "fool", "visualize-class"])
def test_every_key_of_a_report_is_named(command: str) -> None:
    found = keys_of("facts", f"{command.replace('-', '_')}_report")
    assert len(found) > 3
    assert found - KEYS[command] == set()


def test_every_measure_is_named() -> None:
    from cvtool.caption.epochs import Epoch
    from cvtool.caption.metrics import score_texts
    from cvtool.gan.evaluation import Evaluation as OfPictures
    from cvtool.saliency.evaluation import Evaluation as OfMaps

    assert {each.name for each in fields(OfPictures)} <= KEYS["gan evaluate"]
    assert {each.name for each in fields(OfMaps)} <= KEYS["saliency"]
    assert {each.name for each in fields(Epoch)} - {"metrics", "captions", "seconds"} <= KEYS["caption train"]
    assert score_texts({"a": "one dog"}, {"a": ["one dog"]}).numbers().keys() <= KEYS["caption evaluate"]


def test_every_suffix_is_named() -> None:
    assert set(re.findall(r"`(\.\w+)`", SECTIONS["Pictures in"])) == PICTURE_SUFFIXES
    assert set(re.findall(r"`(\.\w+)`", SECTIONS["Results out"])) == set(SUFFIXES) | CAPTION_SUFFIXES - {""}


@pytest.mark.parametrize("page", ["README.md", "docs/files.md"])
def test_every_exit_code_is_named(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert [code for code, meaning in EXIT_CODES.items() if f"| {code} | {meaning} |" not in text] == []


def test_every_file_of_a_run_and_every_variable_is_named() -> None:
    assert [
        name for name in (CONFIG, METRICS, LAST, BEST, STATE) if f"`{name}`" not in SECTIONS["Run directories"]
    ] == []
    assert [name for name in ENVIRONMENT if f"`{name}`" not in SECTIONS["Environment"]] == []
