"""Hooks of mkdocs: pages of the repository that lie outside of docs/, and links to what the site does not carry.

Links in the pages are those that work in the repository. Here those to the model cards, the changelog and the like lead
to copies of them in the site; those to code become plain text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {
    str(path.relative_to(ROOT)): f"{folder}/{path.stem.lower()}.md"
    for folder, paths in {"about": sorted(ROOT.glob("*.md")), "cards": sorted((ROOT / "assets").glob("*.md"))}.items()
    for path in paths
    if path.name != "README.md"  # docs/index.md stands for it
}
"""Files of the repository → what the site calls them."""

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add what lies outside."""
    for path, name in OUTSIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead the links to where the site has their targets."""
    name = page.file.src_uri
    origin = next((path for path, copy in OUTSIDE.items() if copy == name), f"docs/{name}")
    return _LINK.sub(lambda link: _led(link[1], link[2], origin, name), markdown)


def _led(text: str, target: str, origin: str, name: str) -> str:
    """One link of the page `name`, which is `origin` in the repository."""
    path, hash_, anchor = target.partition("#")
    if not path or "://" in target or target.startswith("mailto:"):
        return f"[{text}]({target})"
    wanted = os.path.normpath(str(PurePosixPath(origin).parent / path))
    wanted = "docs/index.md" if wanted == "README.md" else wanted
    there = OUTSIDE.get(wanted, wanted.removeprefix("docs/") if wanted.startswith("docs/") else "")
    if not there:
        if not (ROOT / wanted).exists():
            raise ValueError(f"{origin}: the link to '{target}' leads nowhere")
        return text
    return f"[{text}]({os.path.relpath(there, PurePosixPath(name).parent)}{hash_}{anchor})"
