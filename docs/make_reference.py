"""Everything that is made from the command line's own help: its page, the manual pages, completion for shells.

python docs/make_reference.py            # writes what has changed
python docs/make_reference.py --check    # exits with 1 if something is not up to date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the scripts beside this one, wherever it is called from

from make_common import EXIT_CODES, ROOT, Command, Parameter, commands, write_or_check
from make_completions import completions
from make_man import manual_page

from cvtool.cli.main import app

PAGE = ROOT / "docs" / "command-line.md"
BEGIN = """# The command line

All commands with all their options, made from the tool's own help by `python docs/make_reference.py`. The same stands
in the manual pages (`man cvtool-stylize`) and behind `--help`. What goes with what is on the page of each technique:
[stylize](stylize.md), [saliency](saliency.md), [fool](fool.md), [visualize-class](visualize-class.md),
[caption](caption.md), [gan](gan.md). Formats, names of results and keys of `--json`: [Inputs and outputs](files.md).

| exit code | |
| ---: | --- |
"""


def page(found: list[Command]) -> str:
    """``docs/command-line.md``."""
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    contents = " · ".join(f"[{each.name}](#{_anchor(each.name)})" for each in found[1:])
    return BEGIN + codes + "\n" + contents + "\n" + "".join(map(_section, found))


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _section(command: Command) -> str:
    parts = [f"\n## {command.name}\n", f"```text\n{command.usage()}\n```\n", _escaped(command.summary) + "\n"]
    parts += [_escaped(paragraph) + "\n" for paragraph in command.text]
    for title, parameters in command.sections().items():
        rows = "".join(map(_row, parameters))
        parts += [f"**{title}**\n"] * bool(title) + [f"| option | | default |\n| --- | --- | --- |\n{rows}"]
    return "\n".join(parts)


def _row(each: Parameter) -> str:
    names = ", ".join(each.names) + (f" {each.value}" if each.value and not each.argument else "")
    notes = [each.limits] * bool(each.limits) + ["repeatable"] * (each.repeatable and "repeat" not in each.help)
    text = _escaped(each.help) + (f" ({', '.join(notes)})" if notes else "")
    default = "**required**" if each.required else _escaped(each.default)
    return f"| `{names.replace('|', chr(92) + '|')}` | {text} | {default} |\n"


def _escaped(text: str) -> str:
    """Options and what is quoted in it as code, so that Markdown takes nothing in it for its own."""
    text = re.sub(r"(?<=: )(cvtool .+)$", r"`\1`", text)
    text = re.sub(r"'([^' ][^']*[^' ]|[^' ])'(?!\w)", r"`\1`", text)
    parts = text.split("`")
    for number in range(0, len(parts), 2):
        parts[number] = re.sub(r"(?<![\w`])(--?[a-zA-Z][\w-]*(?:=\S+)?)", r"`\1`", parts[number])
        parts[number] = parts[number].replace("<", "&lt;").replace("*", r"\*").replace("~", r"\~")
    return "`".join(parts).replace("|", r"\|")


def files() -> dict[Path, str]:
    """All that is made: path → text."""
    found = list(commands(app))
    pages = {ROOT / "man" / f"{each.file}.1": manual_page(each, found) for each in found}
    shells = {ROOT / "completions" / name: text for name, text in completions().items()}
    return {PAGE: page(found), **pages, **shells}


if __name__ == "__main__":
    sys.exit(write_or_check(files(), "Write the command line's page, manual pages and completion."))
