"""The cookbook's commands are run as they stand there, by bash, on small pictures."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fences import blocks
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "cookbook.md"
SCRIPTS = blocks(PAGE, "sh")
JOB = next(text for text in SCRIPTS if "#SBATCH" in text)
RUN = [text for text in SCRIPTS if " train " not in text and text != JOB]


def heading(script: str) -> str:
    """Of the section that the script stands in, for the test's name."""
    before = PAGE.read_text("utf-8").split(script)[0]
    return re.findall(r"^## (.*)$", before, re.MULTILINE)[-1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the page says there is: photos/, style.jpg; and the job as it is to be saved."""
    (tmp_path / "photos").mkdir()
    for name, asset in (("a", "cat"), ("b two", "coffee"), ("c", "rocket")):
        with Image.open(ROOT / "assets" / "photos" / f"{asset}.jpg") as picture:
            picture.reduce(4).save(tmp_path / "photos" / f"{name}.jpg")
    with Image.open(ROOT / "assets" / "styles" / "marbling.jpg") as picture:
        picture.reduce(8).save(tmp_path / "style.jpg")
    (tmp_path / "job.sh").write_text(JOB)
    return tmp_path


def shell(command: list[str], folder: Path, commands: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("script", RUN, ids=heading)
def test_it_runs(script: str, folder: Path, commands: Path) -> None:
    for tool in ("jq", "xargs", "find", "bash"):
        if re.search(rf"\b{tool}\b", script) and shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    done = shell(["bash", "-euo", "pipefail", "-c", script], folder, commands)
    assert done.returncode == 0, done.stderr
    written = re.findall(r"mkdir -p (\w+)", script) + re.findall(r"(?:-o|>)\s*([\w-]+(?:\.\w+|/))(?:\s|$)", script)
    for name in written:  # what the script says that it writes
        path = folder / name
        assert path.exists(), name
        assert any(path.iterdir()) if path.is_dir() else path.stat().st_size > 0, name
    if not written:
        assert done.stdout.strip()


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_numbers_are_of_what_could_be_done(folder: Path, commands: Path) -> None:
    """A bad picture ends nothing but itself, and no average or table counts it."""
    (folder / "photos" / "bad.jpg").write_text("no picture")
    for script in (text for text in RUN if heading(text) == "Numbers, not pictures" and ".jsonl" in text):
        first, *rest = script.splitlines()
        code = shell(["bash", "-uc", first], folder, commands).returncode
        assert code == 3, first
        for line in rest:
            done = shell(["bash", "-euo", "pipefail", "-c", line], folder, commands)
            assert (done.returncode, done.stderr) == (0, ""), line
            if " -s " in line:
                maps = [json.loads(each) for each in (folder / "maps.jsonl").read_text().splitlines()]
                found = [each["target"]["probability"] for each in maps if "error" not in each]
                assert len(found) == len(maps) - 1
                assert float(done.stdout) == pytest.approx(sum(found) / len(found))
    table = (folder / "captions.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in table] == ['"photos/a.jpg"', '"photos/b two.jpg"', '"photos/c.jpg"']


def test_a_command_that_fails_would_be_noticed(folder: Path, commands: Path) -> None:
    done = shell(["bash", "-euo", "pipefail", "-c", "cvtool saliency photos/ --nonsense | cat"], folder, commands)
    assert (done.returncode, "No such option" in done.stderr) == (2, True), done.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_makefile(folder: Path, commands: Path) -> None:
    (makefile,) = blocks(PAGE, "make")
    (folder / "photos" / "b two.jpg").rename(folder / "photos" / "b.jpg")  # make knows no names with blanks
    (folder / "Makefile").write_text(makefile)
    first = shell(["make", "-j", "2"], folder, commands)
    assert first.returncode == 0, first.stderr
    assert {path.name for path in (folder / "made").iterdir()} == {"a.png", "b.png", "c.png"}
    (folder / "photos" / "c.jpg").touch()
    assert shell(["make", "-j", "2"], folder, commands).stdout.count("cvtool stylize") == 1


def test_there_are_recipes() -> None:
    assert len(RUN) >= 12
