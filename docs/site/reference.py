"""Writes the pages that are made from the code: ``python -m docs.site.reference``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from docs.site import causes, commands, statuses
from runner.settings import manual

DOCS = Path(__file__).parents[1]
#: What each of them has to say.
PAGES: Mapping[Path, Callable[[], str]] = {
    DOCS / "defaults.md": manual.render,
    DOCS / "reference/commands.md": commands.render,
    DOCS / "reference/causes.md": causes.render,
    DOCS / "reference/exit-status.md": statuses.render,
}


if __name__ == "__main__":
    for page, render in PAGES.items():
        page.write_text(render(), encoding="utf-8")
