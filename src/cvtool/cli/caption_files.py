"""Captions in files: JSON lines, or as people read them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from cvtool.cli.console import harmless
from cvtool.cli.outputs import make_folder
from cvtool.errors import UsageError
from cvtool.files import PICTURE_SUFFIXES, shown, write_atomically

PLAIN = ".txt"
CAPTION_SUFFIXES = frozenset({".jsonl", ".json", PLAIN, ""})
"""Without a suffix, as of a pipe, it is JSON lines."""


def check_suffix(path: Path) -> None:
    """Captions must not replace a picture, or be called a table.

    Raises:
        UsageError: the suffix of ``--output`` promises something else than captions.
    """
    suffix = path.suffix.lower()
    if suffix in CAPTION_SUFFIXES:
        return
    hint = " A picture of where the captioner looked is --attention's." if suffix in PICTURE_SUFFIXES else ""
    raise UsageError(
        f"--output '{shown(path)}' takes captions. Give FILE.jsonl (JSON lines) or FILE{PLAIN} (plain text).{hint}"
    )


def caption_line(name: str, caption: str, *, several: bool) -> str:
    """A caption as people read it; of several pictures, with the picture's name."""
    return f"{name}\t{caption}" if several else caption


def write_captions(path: Path, captions: Iterable[tuple[str, str]], *, several: bool) -> None:
    """Write the names of pictures and their captions, in the form that the suffix says; folders on the way are made.

    Raises:
        CvtoolError: the file cannot be written.
    """
    if path.suffix.lower() == PLAIN:
        lines = (harmless(caption_line(name, text, several=several)) for name, text in captions)
    else:
        lines = (json.dumps({"image": name, "caption": text}) for name, text in captions)
    make_folder(path.parent)
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
