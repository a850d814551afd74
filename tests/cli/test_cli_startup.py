"""Help is quick, complete and torch-free; the bare command and ``--version`` answer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from parsing import COMMANDS

import cvtool as package
from cvtool.cli import caption, gan
from cvtool.cli.main import app, run

TOP = typer.main.get_command(app).commands
MODULES = {
    before + name: f"cvtool.cli.{place.split(':')[0]}"
    for before, group in (("", app), ("caption ", caption.app), ("gan ", gan.app))
    for name, place in group.info.cls.places.items()  # type: ignore[union-attr]
}
HEAVY = {"torch", "torchvision", "timm", "numpy", "PIL", "av", "h5py"}
UNITS = {  # of lengths, times, shares, amounts of memory and counts that could be taken for another
    **dict.fromkeys(("size", "sheet_size", "tile"), "pixels"),
    **dict.fromkeys(("strength", "strengths"), "%"),
    **dict.fromkeys(("noise", "patch_size", "dropout", "held_out", "photos", "fall", "scheduled", "top_p"), "[Ss]hare"),
    "budget": r"Time .*\d[sm]\b",
    "max_memory": "Memory .*GB",
    "bits": "Bits per channel",
    "style_scale": "factor",
    "seed": "whole number",
    "fps": r"Frames (per|of the animation a) second",
    "eps": "in that norm",
    "confidence": "Probability",
    "epochs": "Passes",
    "jobs": "Processes",
    "beam": "Beginnings",
    "longest": "Words",
    "limit": "pictures|Pictures",
    "every": "Steps",
}


def test_the_commands() -> None:
    assert set(TOP) >= {"stylize", "models", "classes", "assets", "info"}
    assert set(COMMANDS) >= {f"caption {name}" for name in ("describe", "train", "evaluate", "features", "check")}
    assert set(COMMANDS) >= {
        f"gan {name}" for name in ("train", "sample", "interpolate", "invert", "evaluate", "export")
    }


@pytest.mark.parametrize(
    "words", [[], *(name.split() for name in COMMANDS)], ids=lambda words: "-".join(words) or "cvtool"
)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    program = f"""
import sys
from cvtool.cli.main import run
code = run({[*words, "--help"]!r})
print("MODULES", *{{name.split(".")[0] for name in sys.modules}}, *sys.modules, file=sys.stderr)
sys.exit(code)
"""
    # How long it takes is for benchmarks/startup.py, alone on a machine, to say.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: cvtool")
    modules = set(done.stderr.split())
    assert not HEAVY & modules
    if words and not hasattr(COMMANDS[" ".join(words)], "commands"):  # of all commands only the one that was asked for
        group = {MODULES[words[0]]} if words[0] in ("caption", "gan") else set()
        assert modules & set(MODULES.values()) == {MODULES[" ".join(words)]} | group


def test_the_last_line_of_the_help_tells_the_exit_codes() -> None:
    done = subprocess.run([sys.executable, "-m", "cvtool", "--help"], capture_output=True, text=True, check=True)
    last = done.stdout.rstrip().splitlines()[-1].strip()
    assert last == "Exits: 0 done, 1 failed, 2 usage, 3 input, 4 weights, 5 goal; see man cvtool"


def test_help_lists_options_in_sections_and_the_shared_ones_last(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stylize", "--help"]) == 0
    sections: dict[str, list[str]] = {}
    for line in capsys.readouterr().out.splitlines():
        if re.match(r"[A-Z].*:$", line):
            sections[line] = []
        elif sections and re.match("  -", line):
            sections[list(sections)[-1]].append(re.findall(r"--[\w-]+", line)[0])
    assert list(sections)[:2] == ["Arguments:", "Options:"]
    assert list(sections)[-3:] == ["Many pictures:", "Network and device:", "Results and messages:"]
    assert sections["In one pass:"] == ["--instant", "--painter"]
    assert sections["Results and messages:"][-1] == "--help"
    listed = sorted(name for names in sections.values() for name in names)
    params = [p for p in COMMANDS["stylize"].params if p.param_type_name == "option"]
    assert listed == sorted({"--help", *(next(each for each in p.opts if each.startswith("--")) for p in params)})


@pytest.mark.parametrize("words", [words for words in COMMANDS if not hasattr(COMMANDS[words], "commands")])
def test_help_shows_no_types_of_python(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words.split(), "--help"]) == 0
    listed = re.findall(r"^  (?=\S)(?:.*?)<(.+?)>(?:  |$)", capsys.readouterr().out, re.MULTILINE)
    assert [each for each in listed if not re.fullmatch(r"[\w+-]+(\|[\w+-]+)+", each)] == []  # choices are fine


@pytest.mark.parametrize(
    ("words", "code", "wrong"),
    [
        ("stylize nothere.jpg asset:marbling", 3, "nothere.jpg"),
        ("saliency nothere.jpg", 3, "nothere.jpg"),
        ("saliency asset:cat --contrast tabbi", 2, "tabbi"),
        ("fool nothere.jpg --target tabby", 3, "nothere.jpg"),
        ("fool asset:cat --target tabbi", 2, "tabbi"),
        ("visualize-class tabby tabbi", 2, "tabbi"),
        ("caption describe nothere.jpg", 3, "nothere.jpg"),
    ],
)
def test_common_mistakes_are_told_before_torch_is_there(tmp_path: Path, words: str, code: int, wrong: str) -> None:
    program = f"""
import sys
from cvtool.cli.main import run
code = run({words.split()!r})
print("torch" in sys.modules)
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (code, "False\n")
    assert wrong in done.stderr


@pytest.mark.parametrize(
    ("command", "option"),
    [(name, p) for name, command in COMMANDS.items() for p in command.params if p.param_type_name == "option"],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_every_option_says_its_default(command: str, option: typer.core.TyperOption) -> None:
    if option.name == "help":
        return
    record = option.get_help_record(typer.Context(COMMANDS[command]))
    assert record is not None
    assert option.help
    assert re.search(r"\[required\]" if option.required else r"\[default: .+\]", record[1]), record


@pytest.mark.parametrize(
    ("command", "option"),
    [(name, p.name) for name, command in COMMANDS.items() for p in command.params if p.name in UNITS],
)
def test_options_with_a_quantity_say_its_unit(command: str, option: str) -> None:
    parameter = next(p for p in COMMANDS[command].params if p.name == option)
    assert re.search(UNITS[option], parameter.help)


def test_version(cvtool) -> None:
    assert cvtool("--version") == type(cvtool("--version"))(0, f"cvtool {package.__version__}\n", "")


def test_the_bare_command_shows_the_help(cvtool) -> None:
    bare = cvtool()
    assert bare.code == 0
    assert bare.out == cvtool("--help").out
    for name in TOP:
        assert re.search(rf"^  {name} ", bare.out, re.MULTILINE)


@pytest.mark.parametrize("group", [[], ["caption"], ["gan"]], ids=lambda words: "-".join(words) or "cvtool")
def test_short_help_of_no_command_is_cut_off(cvtool, group: list[str]) -> None:
    listed = cvtool(*group, "--help").out.split("Commands:")[1]
    assert "..." not in listed


def test_it_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "cvtool", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"cvtool {package.__version__}\n")


@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        ("cvtool sty", ["stylize"]),
        ("cvtool stylize --preserve", ["--preserve-colors"]),
        ("cvtool stylize --optimizer l", ["lbfgs"]),
        ("cvtool stylize --model vgg", ["vgg19"]),
    ],
)
def test_the_shell_can_complete(typed: str, completions: list[str]) -> None:
    completing = {"_CVTOOL_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    environment = {**os.environ, **completing}
    done = subprocess.run([sys.executable, "-m", "cvtool"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout.split()) == (0, completions)
