"""How Sphinx builds these pages: plain Markdown in, its index from ``index.md``, no network."""

import re
from pathlib import Path

from sphinx.application import Sphinx

from runner import __version__

DOCS = Path(__file__).parents[1]

project = "studio-runner"
author = "the authors of studio-runner"
project_copyright = "the authors of studio-runner, Apache-2.0"
version = release = __version__

extensions = ["myst_parser"]
root_doc = "index"
exclude_patterns = ["site"]
html_theme = "furo"
html_title = f"studio-runner {__version__}"
html_copy_source = False
html_show_sphinx = False
# What a page does not name is left as it stands: no language is guessed, no quote is bent.
highlight_language = "none"
smartquotes = False
nitpicky = True

# Anchors as GitHub makes them, so that a page works in both places.
myst_heading_anchors = 4

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_PAGE = re.compile(r"^[-*] \[([^]]+)\]\(([\w/-]+\.md)\)", re.MULTILINE)
_OUTWARD = re.compile(r"(?<!!)\[([^]]+)\]\((\.\./[^)#\s]+)\)")
_TREE = "\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n"


def trees(text: str) -> str:
    """Return the side bar that the sections and links of ``index.md`` make."""
    _, *sections = _SECTION.split(text)
    return "".join(
        _TREE.format(caption=caption, pages="\n".join(f"{t} <{page}>" for t, page in found))
        for caption, body in zip(sections[::2], sections[1::2], strict=True)
        if (found := _PAGE.findall(body))
    )


def inside(page: Path, text: str) -> str:
    """Return the page without links that lead out of the documentation: these are words there.

    One that leads nowhere stays, and is warned of.
    """

    def unlinked(link: re.Match[str]) -> str:
        target = (page.parent / link[2]).resolve()
        is_out = target.exists() and not target.is_relative_to(DOCS)
        return f"{link[1]} (`{target.relative_to(DOCS.parent)}`)" if is_out else link[0]

    return _OUTWARD.sub(unlinked, text)


def _prepare(app: Sphinx, docname: str, source: list[str]) -> None:
    source[0] = inside(Path(app.env.doc2path(docname)), source[0])
    if docname == root_doc:
        source[0] += trees(source[0])
    if docname == "decisions/index":
        source[0] += "\n\n```{toctree}\n:glob:\n\n[0-9]*\n```\n"


def setup(app: Sphinx) -> None:
    """Give the pages that list others their tables of contents."""
    app.connect("source-read", _prepare)
