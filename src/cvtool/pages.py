"""What HTML pages share: a layout, templates that escape, and pictures inside the page, so that it needs no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PREVIEW_QUALITY = 80
"""Of the WebP pictures inside a page, 0 to 100."""


def render(package: str, name: str, scripts: Sequence[str] = (), **values: Any) -> str:
    """The page that the template `name` of `package` makes of `values`, as text to be written with `encoded`.

    Args:
        package: in whose directory ``templates`` the files lie; those of ``cvtool`` itself are found, too.
        name: of a template that extends ``base.html.j2``.
        scripts: files of the scripts that may run on the page; no other may.
        values: what the template asks for, escaped where it is shown; a missing one is an error.
    """
    texts = [source(package, script) for script in scripts]
    return template(package, name).render(scripts=texts, hashes=[script_hash(text) for text in texts], **values)


def encoded(page: str) -> bytes:
    """A page as the bytes of its file; what no encoding knows, as in odd file names, is shown as an escape."""
    return page.encode("utf-8", "backslashreplace")


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
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("cvtool")]),
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


def preview(
    pixels: NDArray[np.float32],
    side: int,
    *,
    alpha: NDArray[np.float32] | None = None,
    profile: bytes | None = None,
) -> str:
    """A picture as the URL of a WebP file, at most `side` pixels long; smaller ones keep their size.

    Args:
        pixels: (H, W, 3) in [0, 1], sRGB or the RGB of `profile`.
        side: longer side in pixels.
        alpha: (H, W) in [0, 1], or None for an opaque picture.
        profile: an ICC profile, or None.
    """
    from cvtool.images import encode_picture, fit_longer_side, resize

    height, width = pixels.shape[:2]
    if max(height, width) > side:
        size = fit_longer_side(height, width, side)
        pixels, alpha = resize(pixels, *size), None if alpha is None else resize(alpha, *size)
    data = encode_picture(pixels, "webp", alpha=alpha, profile=profile, quality=PREVIEW_QUALITY)
    return data_url(data, "image/webp")


def rows(settings: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    """Names and values as a table has them: mappings within become ``outer.inner``."""
    found: list[tuple[str, object]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found += rows(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found


def worded(value: object) -> str:
    """A value as people read it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(worded(each) for each in value)
    return str(value)
