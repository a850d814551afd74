"""Pages that scripts make are up to date; manual pages and completion work where a shell would find them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import make_man
import make_models
import make_reference
import pytest
import typer
from make_common import EXIT_CODES, Command, Parameter, commands, stale

from cvtool import errors
from cvtool.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
MANUAL = sorted((ROOT / "man").glob("*.1"))


def leaves(group: typer.core.TyperGroup, before: str = "cvtool") -> dict[str, list[str]]:
    """Every command as Typer itself has it → the names of its options."""
    found = {}
    for name, command in group.commands.items():
        words = f"{before} {name}"
        if hasattr(command, "commands"):
            found.update(leaves(command, words))
        else:
            options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
            found[words] = [text for p in options for text in (*p.opts, *p.secondary_opts) if p.name != "help"]
    return found


def test_what_is_made_of_the_help_is_up_to_date() -> None:
    assert stale(make_reference.files()) == [], "run: make reference"


def test_the_page_of_models_is_up_to_date() -> None:
    assert stale({make_models.PAGE: make_models.page()}) == [], "run: make reference"


def test_no_page_is_left_of_a_command_that_is_gone() -> None:
    assert set(MANUAL) == {path for path in make_reference.files() if path.suffix == ".1"}


def test_a_change_would_be_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("old")
    assert stale({page: "old"}) == []
    assert stale({page: "new", tmp_path / "missing": ""}) == [page, tmp_path / "missing"]


def test_every_option_that_typer_knows_is_on_the_page() -> None:
    sections = {part.split("\n")[0]: part for part in (ROOT / "docs" / "command-line.md").read_text().split("\n## ")}
    everything = leaves(typer.main.get_command(app))
    assert len(everything) >= 19
    for name, options in everything.items():
        for option in options:
            assert re.search(rf"[`/ ]{re.escape(option)}[`,/ ]", sections[name]), (name, option)


def test_exit_codes_are_all_said() -> None:
    found = {each.exit_code for each in vars(errors).values() if isinstance(each, type) and hasattr(each, "exit_code")}
    assert found <= set(EXIT_CODES)


def test_a_command_is_read_as_declared() -> None:
    (stylize,) = [each for each in commands(app) if each.words == ("stylize",)]
    by_name = {each.names[-1]: each for each in stylize.parameters}
    assert stylize.usage().startswith("cvtool stylize [OPTIONS] [CONTENT]")
    size = by_name["--size"]
    assert (size.value, size.default, size.limits, size.repeatable) == ("PX", "512", "≥ 0", False)
    assert by_name["--optimizer"].value == "adam|lbfgs"
    assert [by_name[name].section for name in ("--size", "--fps", "--seed")] == ["", "Clips", "Network and device"]
    assert by_name["--style"].repeatable
    assert by_name["--output"].names == ("-o", "--output")


def test_what_means_something_to_roff_is_harmless() -> None:
    option = Parameter(("--mark",), "A\\B", ".dots and 'quotes' at \\fB", "", "", False, False, False, ".Marks")
    page = make_man.manual_page(Command(("x",), ".Begins with a dot", (), (option,)), [])
    assert "\n\\&.dots and" in page
    assert "\\efB" in page
    assert "\n\\&.Begins" in page
    assert "\n.SS \\&.Marks\n.TP\n" in page


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
@pytest.mark.parametrize("page", MANUAL, ids=lambda path: path.stem)
def test_groff_has_nothing_to_complain_of(page: Path) -> None:
    done = subprocess.run(
        ["groff", "-man", "-Kutf8", "-Tutf8", "-ww", str(page)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = re.sub(r"\x1b\[[\d;]*m|.\x08", "", done.stdout)
    assert all(title in shown for title in ("NAME", "SYNOPSIS", "EXIT STATUS", "SEE ALSO"))


@pytest.mark.parametrize("page", MANUAL, ids=lambda path: path.stem)
def test_see_also_leads_to_pages(page: Path) -> None:
    for name in re.findall(r"^\.BR (\S+) \(1\)", page.read_text(), re.MULTILINE):
        assert (ROOT / "man" / f"{name.replace(chr(92), '')}.1").is_file()


def ask(shell: str, script: str, commands: Path) -> str:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    environment = {**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, env=environment, timeout=120)
    return done.stdout


@pytest.fixture
def cvtool_alone(tmp_path: Path) -> Path:
    """A folder for PATH with ``cvtool`` as it is installed: completion asks it by its environment."""
    import sys

    program = tmp_path / "cvtool"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT / "src"}" exec {sys.executable} -m cvtool "$@"\n')
    program.chmod(0o755)
    return tmp_path


def test_bash_completes(cvtool_alone: Path) -> None:
    script = f"""source {ROOT / "completions" / "cvtool.bash"}
COMP_WORDS=(cvtool stylize --preserve) COMP_CWORD=2
$(complete -p cvtool | sed 's/.*-F \\([^ ]*\\).*/\\1/') cvtool
echo "${{COMPREPLY[@]}}" """
    assert ask("bash", script, cvtool_alone).split() == ["--preserve-colors"]


def test_fish_completes(cvtool_alone: Path) -> None:
    script = f"source {ROOT / 'completions' / 'cvtool.fish'}; complete -C 'cvtool sty'"
    assert ask("fish", script, cvtool_alone).split()[:1] == ["stylize"]


def test_zsh_asks_for_what_completes(cvtool_alone: Path) -> None:
    script = f"""_arguments() {{ print -r -- "$@" }}; _describe() {{ print -r -- "$@" }}; compdef() {{ :; }}
source {ROOT / "completions" / "cvtool.zsh"}
words=(cvtool sty) CURRENT=2
_cvtool_completion"""
    assert "stylize" in ask("zsh", script, cvtool_alone)
