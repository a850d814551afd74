"""What made a result: one record, written into pictures and checkpoints as JSON, read back from them.

`Provenance.to_json` is what `images.encode_picture` takes as its note and what a checkpoint carries in its metadata
under the key ``cvtool``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any

from PIL import UnidentifiedImageError

from cvtool.codecs import notes
from cvtool.codecs.quiet import no_stderr, no_warnings
from cvtool.errors import BadInputError
from cvtool.files import opened_input, read_input, sha256_of, shown

__all__ = ["Provenance", "environment", "read_provenance", "sha256_of"]

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow")  # those whose version can change a result
MAX_HEADER_BYTES = 100 << 20  # of a safetensors file; the format's own limit

JSON_NAMES: dict[type, str] = {str: "a text", int: "a whole number", dict: "an object", list: "a list"}


def environment() -> dict[str, str]:
    """Versions of Python and of the packages behind a result, and the platform. Imports none of them."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Provenance:
    """What made a result.

    Attributes:
        command: the subcommand, e.g. ``"stylize"``.
        version: cvtool's version.
        command_line: a shell command that makes the result again.
        options: every option, by name; JSON values (paths, enums and tuples become such when written).
        inputs: one ``{"path": …, "sha256": …}`` per input file.
        model: name of the network, None where there was none.
        device: where it ran, e.g. ``"cpu"``.
        seed: of everything random.
        environment: see `environment`.
    """

    command: str
    version: str
    command_line: str
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Mapping[str, str], ...] = ()
    model: str | None = None
    device: str | None = None
    seed: int | None = None
    environment: Mapping[str, str] = field(default_factory=environment)

    def to_json(self) -> str:
        """The record as one line of ASCII JSON; the same record gives the same text."""
        record = {each.name: _plain(getattr(self, each.name)) for each in dataclasses.fields(self)}
        return json.dumps(record, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes, name: str = "the provenance record") -> Provenance:
        """The record in `text`; keys it does not know are left out. `name` is used in messages.

        Raises:
            BadInputError: not JSON, or not such a record.
        """
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:  # RecursionError: brackets nested without end
            raise BadInputError(f"The provenance in '{shown(name)}' is not JSON. Make the file again.") from error
        try:
            return _checked(record)
        except _MalformedError as error:
            raise BadInputError(
                f"The provenance in '{shown(name)}' is broken: {error}. Make the file again."
            ) from error


def read_provenance(path: str | Path) -> Provenance:
    """The provenance inside a picture, a clip or a ``.safetensors`` checkpoint that cvtool wrote.

    Raises:
        BadInputError: the file cannot be read, carries no provenance, or a broken one.
    """
    note = _checkpoint_note(path) if _is_safetensors(path) else _picture_note(path)
    if note is None:
        raise BadInputError(f"'{shown(path)}' carries no provenance. Give something that cvtool made.")
    return Provenance.from_json(note, str(path))


def _is_safetensors(path: str | Path) -> bool:
    """Told by the content: a little-endian length, then a JSON object of that length."""
    with opened_input(path) as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= MAX_HEADER_BYTES


def _checkpoint_note(path: str | Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as checkpoint:
            found: dict[str, str] = checkpoint.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInputError(f"'{shown(path)}' is a broken safetensors file. Fetch or save it again.") from error
    return found.get(notes.KEY)


def _picture_note(path: str | Path) -> str | None:
    data = read_input(path)
    try:
        with no_warnings:
            return notes.read_note(data)
    except UnidentifiedImageError as error:
        note = _clip_note(path)
        if note is not None:
            return note
        message = f"'{shown(path)}' is neither a picture nor a checkpoint. Give one made by cvtool."
        raise BadInputError(message) from error
    except Exception as error:  # decoders raise whatever they please on hostile bytes; the user needs one line
        raise BadInputError(f"'{shown(path)}' is truncated or broken. Fetch or save it again.") from error


def _clip_note(path: str | Path) -> str | None:
    """The comment of a video, if it is a record."""
    from cvtool.clips import opened_container

    try:
        with no_stderr, opened_container(path) as container:
            tags = {name.casefold(): text for name, text in container.metadata.items()}  # Matroska has capitals
    except Exception:  # as above; here it only means that there is none
        return None
    comment = str(tags.get("comment", ""))
    return comment if comment.startswith("{") else None  # else a camera's, or another program's


class _MalformedError(Exception):
    """What is wrong with a record."""


def _checked(record: object) -> Provenance:
    if not isinstance(record, dict):
        raise _MalformedError("it is not a JSON object")

    def value(key: str, kind: type, default: Any = None) -> Any:
        found = record.get(key, default)
        if found is None and key in ("model", "device", "seed"):
            return None
        if not isinstance(found, kind) or isinstance(found, bool):
            raise _MalformedError(f"'{key}' is not {JSON_NAMES[kind]}")
        return found

    inputs = value("inputs", list, [])
    if not all(isinstance(each, dict) and {"path", "sha256"} <= each.keys() and _texts(each) for each in inputs):
        raise _MalformedError("'inputs' is not a list of paths and sha256 sums")
    if not _texts(value("environment", dict, {})):
        raise _MalformedError("'environment' is not an object of texts")
    return Provenance(
        command=value("command", str),
        version=value("version", str),
        command_line=value("command_line", str),
        options=value("options", dict, {}),
        inputs=tuple(inputs),
        model=value("model", str),
        device=value("device", str),
        seed=value("seed", int),
        environment=value("environment", dict, {}),
    )


def _texts(mapping: Mapping[str, object]) -> bool:
    return all(isinstance(value, str) for value in mapping.values())


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it. Numbers that are not finite, which JSON lacks, become their names."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if hasattr(value, "item"):  # a NumPy number
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)
