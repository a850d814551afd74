"""What the scripts that write pages share: commands read from the Typer app, and files written or compared.

The commands are read from what they declare, not from what Typer prints, so that the pages are the same with every
version of Typer. `MAKERS` of `make_reference.py` says what is made.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from cvtool.cli.commands import Group, imported, in_sections

ROOT = Path(__file__).resolve().parents[1]

EXIT_CODES = {
    0: "done",
    1: "unexpected failure (`--debug` shows the traceback)",
    2: "wrong usage",
    3: "bad input: missing, broken, not a picture …",
    4: "the model's weights are not on this machine",
    5: "the goal was not reached; the best try is written",
    130: "interrupted; the picture so far is written",
    141: "the reader of stdout went away",
}


@dataclass(frozen=True)
class Parameter:
    """An option or an argument of a command.

    Attributes:
        names: ``("-o", "--output")``, one name for an argument.
        value: what stands behind it, "" for a flag.
        help: one or two sentences.
        default: as `--help` says it; "" where there is none.
        limits: e.g. ``"≥ 0"``; "" for any.
        required, repeatable, argument: what they say.
        section: of the help that lists it; "" where it stands first.
    """

    names: tuple[str, ...]
    value: str
    help: str
    default: str
    limits: str
    required: bool
    repeatable: bool
    argument: bool
    section: str


@dataclass(frozen=True)
class Command:
    """A command or a group of them.

    Attributes:
        words: behind ``cvtool``; () is the tool itself.
        summary: its first line of help.
        text: the other paragraphs.
        parameters: arguments first.
        group: whether it has commands of its own.
    """

    words: tuple[str, ...]
    summary: str
    text: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    group: bool = False

    def sections(self) -> dict[str, list[Parameter]]:
        """Its options and arguments as the help lists them."""
        return in_sections((each.section, each) for each in self.parameters)

    @property
    def name(self) -> str:
        """As it is called."""
        return " ".join(("cvtool", *self.words))

    @property
    def file(self) -> str:
        """As its manual page is called."""
        return "-".join(("cvtool", *(word for word in self.words)))

    def usage(self) -> str:
        """E.g. ``cvtool info [OPTIONS] FILE...``."""
        arguments = [p.value + ("..." if p.repeatable else "") for p in self.parameters if p.argument]
        required = [p.required for p in self.parameters if p.argument]
        shown = [text if must else f"[{text}]" for text, must in zip(arguments, required, strict=True)]
        return " ".join([self.name, "[OPTIONS]", *shown, *(["COMMAND [ARGS]..."] if self.group else [])])


def commands(app: typer.Typer, before: tuple[str, ...] = ()) -> Iterator[Command]:
    """The tool or group itself, then its commands in the order of its help."""
    root = app.registered_callback.callback if app.registered_callback else None
    summary, *text = _paragraphs(inspect.getdoc(root) if root else str(app.info.help))
    yield Command(before, summary, tuple(text), _parameters(root) if root else (), group=True)
    groups = []
    assert issubclass(app.info.cls, Group)
    for name, place in app.info.cls.places.items():
        found, words = imported(place), (*before, *name.split())
        if isinstance(found, typer.Typer):
            groups.append((found, words))
            continue
        summary, *text = _paragraphs(inspect.getdoc(found))
        yield Command(words, summary, tuple(text), _parameters(found))
    for found, words in groups:
        yield from commands(found, words)


def _paragraphs(text: str | None) -> list[str]:
    return [" ".join(part.split()) for part in (text or "").split("\n\n") if part.strip()]


def _parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    hints = typing.get_type_hints(function, include_extras=True)
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        if hints[name] is not typer.Context:
            kind, declared = typing.get_args(hints[name])
            if not getattr(declared, "hidden", False):
                found.append(_parameter(name, kind, declared, parameter.default))
    return tuple(sorted(found, key=lambda each: not each.argument))


def _parameter(name: str, kind: Any, declared: Any, default: Any) -> Parameter:
    argument = isinstance(declared, typer.models.ArgumentInfo)
    # With Annotated, what looks like a default is the first of the names.
    names = [text for text in (declared.default, *(declared.param_decls or ())) if isinstance(text, str)]
    required = default is inspect.Parameter.empty
    plain, repeatable = _plain(kind)
    value = declared.metavar or _value(plain)
    return Parameter(
        names=(value if argument else "",) if argument else tuple(names or [f"--{name.replace('_', '-')}"]),
        value=value or (name.upper() if argument else ""),
        help=" ".join((declared.help or "").split()),
        default="" if required else _default(declared, default),
        limits=_limits(declared),
        required=required,
        repeatable=repeatable,
        argument=argument,
        section=declared.rich_help_panel or "",
    )


def _plain(kind: Any) -> tuple[Any, bool]:
    """Without ``| None`` and without ``list[…]``; whether it was a list."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        (kind,) = [part for part in typing.get_args(kind) if part is not type(None)]
    if typing.get_origin(kind) is list:
        return typing.get_args(kind)[0], True
    return kind, False


def _value(kind: Any) -> str:
    if kind is bool:
        return ""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(member.value) for member in kind)
    return {int: "N", float: "X", Path: "PATH"}.get(kind, "TEXT")


def _default(declared: Any, default: Any) -> str:
    if isinstance(declared.show_default, str):
        return declared.show_default
    if default is None or not declared.show_default:
        return ""
    if isinstance(default, Enum):
        return str(default.value)
    if isinstance(default, bool):
        return _flag(declared, default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def _flag(declared: Any, default: bool) -> str:
    pair = next((text for text in (declared.default, *declared.param_decls) if "/" in str(text)), "")
    on, _, off = str(pair).partition("/")
    return (on if default else off).lstrip("-") if pair else ("on" if default else "off")


def _limits(declared: Any) -> str:
    low, high = declared.min, declared.max
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    if low is not None:
        return f"≥ {low:g}"
    return f"≤ {high:g}" if high is not None else ""


def write_or_check(files: Mapping[Path, str], what: str) -> int:
    """Write the files that have changed, or with ``--check`` only say which would; the exit code.

    Args:
        files: path → what it should hold.
        what: the line of help.
    """
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is not up to date")
    check = parser.parse_args().check
    old = stale(files)
    for path in old:
        print(f"{'out of date' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
    if old and check:
        print("Run: make reference", file=sys.stderr)
    return int(bool(old and check))


def stale(files: Mapping[Path, str]) -> list[Path]:
    """Those that do not hold what they should."""
    return [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
