"""What HTML pages share: templates that escape, and pictures inside the page, so that it needs no network."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


@cache
def template(package: str, name: str) -> Template:
    """The template `name` in the directory ``templates`` of `package`; values are escaped, unknown names are errors."""
    return _environment(package).get_template(name)


@cache
def source(package: str, name: str) -> str:
    """The text of such a file, as it is."""
    environment = _environment(package)
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


@cache
def _environment(package: str) -> Environment:
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def data_url(content: bytes, kind: str) -> str:
    """A file as a URL that contains it; `kind` is its media type, e.g. ``image/png``."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def script_hash(text: str) -> str:
    """What a page's Content-Security-Policy says of an inline script that may run, and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
