"""Lets pages link to, and contain, files of the repository that are not below `docs/`.

Links are written so that they work where the repository is read as it is:

    [set-up](../contrib/asgi/README.md)

Here they become links to the page that contains this file (see `PAGES`), or to a copy of it. A page contains
a file where this line stands:

    <!-- contains: ../contrib/asgi/README.md -->
"""

import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent

PAGES = {
    "README.md": "index",
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "SECURITY.md": "security",
    "benchmarks/README.md": "benchmarks",
    "contrib/asgi/README.md": "servers-asgi",
    "contrib/grafana/README.md": "grafana",
    "contrib/gunicorn/README.md": "servers-gunicorn",
    "contrib/wsgi/README.md": "servers-wsgi",
    "examples/README.md": "examples",
    "examples/thumbnails/README.md": "demo",
}
"""The page that contains a file."""

_CONTAINS = re.compile(r"^<!-- contains: (\S+) -->$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]\[]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def read(app: Sphinx, docname: str, content: list[str]) -> None:
    """Replace the page's text by one that Sphinx can follow."""

    def contained(found: re.Match[str]) -> str:
        path = (DOCS / found[1]).resolve()
        app.env.note_dependency(path, docname=docname)
        return relinked(path.read_text(), path.parent)

    page = Path(app.env.doc2path(docname))
    content[0] = _CONTAINS.sub(contained, relinked(content[0], page.parent))


def relinked(text: str, folder: Path) -> str:
    """*text* from a file in *folder*, with links that work from a page of the documentation."""

    def link(found: re.Match[str]) -> str:
        shown, target, anchor = found[1], found[2], found[3] or ""
        path = (folder / target).resolve()
        if "://" in target or not path.exists() or not path.is_relative_to(ROOT):
            return found[0]
        if path.is_dir():
            path = path / "README.md"
        page = PAGES.get(str(path.relative_to(ROOT)))
        if page:
            return f"[{shown}]({page}.md{anchor})"
        if path.is_file():
            return f"[{shown}]({os.path.relpath(path, DOCS)}{anchor})"
        return shown

    return _LINK.sub(link, text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx's entry."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
