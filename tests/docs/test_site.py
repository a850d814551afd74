"""The site is built without a warning, and all that its pages show comes with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

pytest.importorskip("mkdocs", reason="the site is not built without the 'docs' extra")
pytest.importorskip("material", reason="the site is not built without the 'docs' extra")
pytest.importorskip("mkdocstrings", reason="the site is not built without the 'docs' extra")

import make_site

ROOT = Path(__file__).resolve().parents[2]
_SHOWN = re.compile(
    r"<(?:script|img)\b[^>]*?\bsrc=\"([^\"]*)\"|<link\b(?=[^>]*rel=\"(?:stylesheet|icon)\")[^>]*?href=\"([^\"]*)\""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def test_nothing_that_is_shown_comes_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= 15
    shown = 0
    for page in pages:
        for groups in _SHOWN.findall(page.read_text("utf-8")):
            address = "".join(groups)
            assert "//" not in address, (page.name, address)
            start = site if address.startswith("/") else page.parent
            assert (start / unquote(address.split("?")[0].split("#")[0]).lstrip("/")).exists(), (page.name, address)
            shown += 1
    assert shown > 50
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", sheet.read_text("utf-8")), sheet.name


def test_the_reference_has_the_docstrings(site: Path) -> None:
    text = (site / "library.html").read_text("utf-8")
    for name in ("cvtool.stylize.service.stylize", "cvtool.saliency.service.explain", "cvtool.gan.sampling.sample"):
        assert f'id="{name}"' in text
    assert "Gatys, Ecker, Bethge" in text


def test_scripts_are_not_published(site: Path) -> None:
    assert list(site.rglob("*.py*")) == []


@pytest.mark.parametrize(
    ("target", "origin", "name", "link"),
    [
        ("../assets/CAPTIONER.md", "docs/caption.md", "caption.md", "[x](cards/captioner.md)"),
        ("../assets/SOURCES.md#photographs", "docs/models.md", "models.md", "[x](cards/sources.md#photographs)"),
        ("../README.md", "docs/reproducing.md", "reproducing.md", "[x](index.md)"),
        ("fool.md#limits", "docs/index.md", "index.md", "[x](fool.md#limits)"),
        ("docs/architecture.md", "CONTRIBUTING.md", "about/contributing.md", "[x](../architecture.md)"),
        ("CAPTIONER.md", "assets/SOURCES.md", "cards/sources.md", "[x](captioner.md)"),
        ("make_styles.py", "assets/SOURCES.md", "cards/sources.md", "x"),
        ("https://example.org/a", "docs/index.md", "index.md", "[x](https://example.org/a)"),
        ("#here", "docs/index.md", "index.md", "[x](#here)"),
    ],
)
def test_links_lead_to_where_the_site_has_their_targets(target: str, origin: str, name: str, link: str) -> None:
    assert make_site._led("x", target, origin, name) == link


def test_a_link_to_nowhere_ends_the_build() -> None:
    with pytest.raises(ValueError, match=r"docs/index\.md: the link to '\.\./nowhere\.py' leads nowhere"):
        make_site._led("x", "../nowhere.py", "docs/index.md", "index.md")
