"""Fenced blocks of Markdown pages, and the command lines of ``cvtool`` in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

_CONTROL = {"|", "||", "&", "&&", ";", ";;", "(", ")", "|&"}
_FILES = {">", "<", ">>", ">&", "<<<"}


def blocks(page: Path, *languages: str) -> list[str]:
    """The text of the page's fenced blocks in these languages, in order."""
    found = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def inline(page: Path) -> list[str]:
    """The texts between single backticks that run ``cvtool``, in order."""
    return [text for text in re.findall(r"`([^`\n]+)`", page.read_text("utf-8")) if re.search(r"\bcvtool \w", text)]


def command_lines(script: str) -> Iterator[list[str]]:
    """The words behind each ``cvtool`` of a shell script, variables replaced by 1, what `xargs` adds by a file."""
    script = re.sub(r"\\\n|(?<=\|)\n", " ", script)
    for line in script.splitlines():
        line = re.sub(r"(^|\s)#.*", "", line)
        line = re.sub(r"\$\(wildcard[^)]*\)", "x", line)
        line = re.sub(r"\$\{[^}]*\}|\$[\w<@^]+", "1", line)
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        for start, word in enumerate(words):
            if word == "cvtool" or word.endswith("/cvtool"):
                fed = ["a.jpg"] if "xargs" in words[:start] else []
                yield _until_control(words[start + 1 :]) + fed


def _until_control(words: list[str]) -> list[str]:
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in _CONTROL:
            break
        if word in _FILES:
            next(rest, None)
            if kept and kept[-1].isdigit():  # 2> file
                kept.pop()
        else:
            kept.append(word)
    return kept
