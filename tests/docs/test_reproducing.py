"""docs/reproducing.md names every benchmark, result and picture; benchmarks/all.py runs all; startup.py measures."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reproducing.md").read_text("utf-8")
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))
sys.path.append(str(ROOT / "benchmarks"))  # what they share


def loaded(name: str) -> ModuleType:
    """A file of benchmarks/ as a module."""
    spec = spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


ALL, STARTUP = loaded("all"), loaded("startup")


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.name)
def test_every_benchmark_is_named(path: Path) -> None:
    assert f"benchmarks/{path.name}" in PAGE


def test_every_file_of_results_is_named() -> None:
    kept = [path.name for path in (ROOT / "benchmarks" / "results").glob("*.*") if "-quick" not in path.name]
    assert [name for name in kept if f"results/{name}" not in PAGE] == []


def test_every_picture_is_named() -> None:
    pictures = [path.name for path in (ROOT / "docs" / "pictures").iterdir()]
    assert [name for name in pictures if f"`{name}`" not in PAGE] == []


def test_every_figure_of_the_readme_has_its_command() -> None:
    """A command that writes it where the README looks for it, or the benchmark that does."""
    rows = {line.split("|")[1]: line.split("|")[2] for line in PAGE.splitlines() if line.startswith("| `")}
    shown = set(re.findall(r"docs/pictures/([\w.-]+)", (ROOT / "README.md").read_text("utf-8")))
    commands = {name: command for name in shown for names, command in rows.items() if f"`{name}`" in names}
    assert commands.keys() == shown
    assert [name for name, each in commands.items() if "docs/pictures/" not in each and "benchmarks/" not in each] == []


def test_every_script_that_is_named_exists() -> None:
    for name in re.findall(r"(?:benchmarks|assets)/\w+\.py", PAGE):
        assert (ROOT / name).is_file(), name


def test_all_runs_all() -> None:
    run = {part.words[0] for part in ALL.PARTS}
    assert run == {path.name for path in BENCHMARKS} - set(ALL.HELPERS)
    for part in ALL.PARTS:
        words = " ".join(part.words).partition(" --data")[0]
        assert f"python benchmarks/{words}" in PAGE


@pytest.mark.parametrize("part", ALL.PARTS, ids=lambda part: " ".join(part.words))
def test_the_options_that_all_gives_exist(part: object) -> None:
    text = (ROOT / "benchmarks" / part.words[0]).read_text("utf-8")  # type: ignore[attr-defined]
    options = [*part.words[1:], *part.sample, *part.table, *["--minutes"] * part.stoppable]  # type: ignore[attr-defined]
    for word in options:
        if word.startswith("--"):
            assert f'"{word}"' in text


@pytest.fixture
def three_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Benchmarks that say how they are called; one fails, one lacks its data."""
    says = "import os, sys\nprint('{}')\nprint(sys.argv[1:], os.path.basename(os.environ['CVTOOL_BENCH_RESULTS']))\n"
    for name, code in (("good.py", 0), ("bad.py", 3)):
        (tmp_path / name).write_text(f"{says}sys.exit({code})\n")
    parts = (
        ALL.Part(("good.py",), "no time", ("--few", "1"), stoppable=True),
        ALL.Part(("bad.py",), "no time"),
        ALL.Part(("good.py", "--data", "{data}/nowhere"), "no time", needs="{data}/nowhere"),
    )
    monkeypatch.setattr(ALL, "HERE", tmp_path)
    monkeypatch.setattr(ALL, "ONE_GO", tmp_path / "one-go")
    monkeypatch.setattr(ALL, "PARTS", parts)
    return tmp_path


def test_in_one_go_all_tables_are_on_one_page(
    three_parts: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = three_parts / "one-go" / "old.jsonl"
    before.parent.mkdir()
    before.touch()
    monkeypatch.setattr(sys, "argv", ["all.py"])
    assert ALL.main() == 1
    assert capfd.readouterr().err == "failed: bad.py\n"
    assert not before.exists()
    page = (before.parent / "README.md").read_text("utf-8")
    assert re.search(r"`good\.py --few 1`: done after \d+\.\d minutes\.\n\n\['--few', '1'\] one-go\n", page)
    assert "`bad.py`: exit code 3 after" in page
    assert "left out, there is no CVTOOL_SHARED_DATA/nowhere" in page
    assert "{}" not in page


def test_whole_benchmarks_go_on_in_the_folder_of_results(
    three_parts: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (three_parts / "results").mkdir()
    (three_parts / "results" / "old.jsonl").touch()
    monkeypatch.setattr(sys, "argv", ["all.py", "--whole", "--minutes", "2"])
    assert ALL.main() == 1
    assert "['--minutes', '2.0'] results" in capfd.readouterr().out
    assert [path.name for path in (three_parts / "results").iterdir()] == ["old.jsonl"]


def test_rows_say_where_they_were_measured(tmp_path: Path) -> None:
    kept, file = loaded("kept"), tmp_path / "rows.jsonl"
    assert kept.headline(file, "torch") == "measured before rows said where"
    kept.add(file, {"seconds": 1.5})
    kept.add(file, {"seconds": 2})
    assert kept.rows(file) == [{"seconds": 1.5}, {"seconds": 2}]
    assert kept.whole_rows(file)[0]["at"]["cpus"] == os.cpu_count()
    line = kept.headline(file, "torch", "nothing of that name")
    assert line.startswith(f"{date.today()}, ")
    assert f"torch {version('torch')}, nothing of that name absent" in line


MEASURED = {
    "date": "2026-01-02",
    "machine": {"arch": "x86_64", "cpu": "Abacus", "cores": 2, "load": 0.1},
    "python": "3.11.7",
    "cvtool": "0.1.0",
    "versions": {"torch": "2.15.0"},
    "package_mb": 20.25,
    "environment_mb": 900.0,
    "wheel_mb": 18.04,
    "help": {"cvtool": [0.3, 0.2, 0.25], "cvtool stylize": [0.4, 0.4, 0.9], "cvtool info": [0.1, 0.1, 0.1]},
    "first": {"saliency": [[3.0, 700.0], [2.0, 710.0], [2.5, 690.0]]},
}


def test_the_table_of_starts() -> None:
    text = STARTUP.table(MEASURED)
    assert "| `cvtool --help` | 0.25 | |" in text
    assert "| median of all 3 `--help` | 0.25 | |" in text
    assert "| slowest: `cvtool stylize --help` | 0.40 | |" in text
    assert "| `cvtool saliency asset:cat -o seen.png` | 2.5 | 700 |" in text
    assert "| wheel | 18.0 |" in text
    assert "2026-01-02" in text


def test_the_table_has_the_times_of_ci(tmp_path: Path) -> None:
    written = tmp_path / "times"
    written.write_text("61\tthe wheel, alone\n900\tthe whole suite\n")
    text = STARTUP.table(MEASURED, STARTUP.ci_times(written))
    assert f"| `bash .ci/run` in a fresh clone ({date.today()}, {os.cpu_count()} cores) | 961 | |" in text
    assert "| of it the suite | 900 | |" in text
    assert "ci/run" not in STARTUP.table(MEASURED)


def test_the_table_goes_between_the_markers() -> None:
    readme = f"before\n{STARTUP.BEGIN}\nold\n{STARTUP.END}\nafter\n"
    assert STARTUP.write_into(readme, "new") == f"before\n{STARTUP.BEGIN}\nnew\n{STARTUP.END}\nafter\n"
    with pytest.raises(ValueError, match="the README needs one"):
        STARTUP.write_into("no markers", "new")


def test_a_process_is_measured(tmp_path: Path) -> None:
    used = STARTUP.timed([sys.executable, "-c", "import time; x = bytearray(50_000_000); time.sleep(.3)"], tmp_path)
    assert used.seconds >= 0.3
    assert used.peak_mb > 50
    with pytest.raises(RuntimeError, match="exit code 3: the last line"):
        STARTUP.timed([sys.executable, "-c", "print('first\\nthe last line'); raise SystemExit(3)"], tmp_path)


def test_all_commands_are_asked_for_help() -> None:
    done = subprocess.run([sys.executable, "-c", STARTUP.COMMANDS], capture_output=True, text=True, check=True)
    assert {"", "stylize", "stylize train-instant", "gan sample"} <= set(done.stdout.split("\n"))


def test_the_facts_of_an_environment() -> None:
    facts = json.loads(STARTUP.ask(sys.executable, STARTUP.FACTS))
    assert 10 < facts["package_mb"] < 100
    assert facts["environment_mb"] > facts["package_mb"]
