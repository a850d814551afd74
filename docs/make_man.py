"""Manual pages: what `make_common` reads of a command, in the language of man(7)."""

from __future__ import annotations

from collections.abc import Sequence

from make_common import EXIT_CODES, Command, Parameter

from cvtool import __version__

ENVIRONMENT = {
    "OMP_NUM_THREADS": "Threads that one process computes with; all cores without it.",
    "OMP_WAIT_POLICY": "How threads wait; without it and GOMP_SPINCOUNT it is chosen by how busy the machine is.",
    "TORCH_HOME": "Where torchvision keeps the weights it fetched; ~/.cache/torch without it.",
    "HF_HOME": "Where timm keeps the weights it fetched; ~/.cache/huggingface without it.",
    "HF_HUB_OFFLINE": "1: weights of timm are not fetched.",
    "XDG_CACHE_HOME": "Instead of ~/.cache, also for the decoded pictures of gan train.",
    "TMPDIR": "Where temporary files lie, such as the names of a long list.",
}


def manual_page(command: Command, everything: Sequence[Command]) -> str:
    """One page of section 1.

    Args:
        command: what it is about.
        everything: all commands, for what it lists and refers to.
    """
    below = [each for each in everything if command.group and _is_below(each, command)]
    lines = [
        '.\\" Made by docs/make_reference.py from the help of the command: change that, and run "make reference".',
        f'.TH {_quoted(command.file.upper())} 1 "" {_quoted(f"cvtool {__version__}")} "cvtool manual"',
        ".nh",  # options are not to be hyphenated
        ".ad l",
        ".SH NAME",
        f"{_text(command.file)} \\- {_text(_lower(command.summary))}",
        ".SH SYNOPSIS",
        *_synopsis(command),
        ".SH DESCRIPTION",
        _text(command.summary),
    ]
    for paragraph in command.text:
        lines += [".PP", _text(paragraph)]
    if below:
        lines += [".SH COMMANDS", *(line for each in below for line in _listed(each))]
    arguments = [each for each in command.parameters if each.argument]
    if arguments:
        lines += [".SH ARGUMENTS", *(line for each in arguments for line in _parameter(each))]
    if len(arguments) < len(command.parameters):
        lines += [".SH OPTIONS"]
    for title, parameters in command.sections().items():
        lines += [f".SS {_text(title)}"] * bool(title)
        lines += [line for each in parameters if not each.argument for line in _parameter(each)]
    lines += [".SH EXIT STATUS"]
    for code, meaning in EXIT_CODES.items():
        lines += [".TP", f"\\fB{code}\\fR", _text(meaning)]
    if not command.words:
        lines += [".SH ENVIRONMENT"]
        for name, meaning in ENVIRONMENT.items():
            lines += [".TP", f"\\fB{name}\\fR", _text(meaning)]
    lines += [".SH SEE ALSO", ",\n".join(f".BR {_text(name)} (1)" for name in _others(command, everything, below))]
    return "\n".join(lines).replace(" (1),\n.BR", " (1) ,\n.BR") + "\n"


def _is_below(each: Command, group: Command) -> bool:
    """Whether the group lists it in its help: not what lies in a group of its own."""
    if each is group or each.words[: len(group.words)] != group.words:
        return False
    return len(each.words) == len(group.words) + 1 or each.words[0] == "stylize"


def _others(command: Command, everything: Sequence[Command], below: Sequence[Command]) -> list[str]:
    if below:
        return [each.file for each in below]
    family = [each.file for each in everything if each.words[:1] == command.words[:1] and each is not command]
    return ["cvtool", *family, *(["cvtool-info"] if command.words != ("info",) else [])]


def _synopsis(command: Command) -> list[str]:
    rest = command.usage().removeprefix(command.name).split()
    return [f".B {_text(command.name)}", " ".join(f"\\fI{_text(word)}\\fR" for word in rest)]


def _listed(command: Command) -> list[str]:
    return [".TP", f".BR {_text(command.file)} (1)", _text(command.summary)]


def _parameter(each: Parameter) -> list[str]:
    value = f" \\fI{_text(each.value)}\\fR" if each.value and not each.argument else ""
    names = ", ".join(f"\\f{'I' if each.argument else 'B'}{_text(name)}\\fR" for name in each.names)
    notes = [each.limits] * bool(each.limits) + ["repeatable"] * (each.repeatable and "repeat" not in each.help)
    if each.required:
        notes.append("required")
    elif each.default:
        notes.append(f"default: {each.default}")
    return [".TP", names + value, _text(each.help + (f" [{'; '.join(notes)}]" if notes else ""))]


def _lower(text: str) -> str:
    return text[0].lower() + text[1:].rstrip(".")


def _quoted(text: str) -> str:
    return '"' + _text(text).replace('"', '""') + '"'


def _text(text: str) -> str:
    """Characters that mean something to roff made harmless; hyphens that can be copied as such."""
    text = text.replace("\\", "\\e").replace("`", "").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text
