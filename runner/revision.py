"""Which commit this installation was built from, or which one its working tree is at."""

from __future__ import annotations

import functools
import re
from pathlib import Path

#: Written by a release, by the image's build, and into what else is built by
#: ``release/build_hook.py``; no file of the repository.
FILE = "commit.txt"
#: Behind the commit of a working tree, which may hold more than that.
TREE = "tree"
_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_LINK, _REFERENCE = "gitdir:", "ref:"


@functools.cache
def revision() -> str:
    """Return the commit's full name; empty in what was built where there was no repository.

    In a working tree with ``-tree`` behind it, in what was built of changed files with ``-dirty``;
    read once, as the code is.
    """
    try:
        return Path(__file__).with_name(FILE).read_text(encoding="ascii").strip()
    except OSError:
        commit = of_tree(Path(__file__).parent.parent)
        return f"{commit}-{TREE}" if commit else ""


def shown() -> str:
    """Return the commit as it is put behind a version, ``" (0123456789ab)"``; empty likewise."""
    commit, dash, more = revision().partition("-")
    return f" ({commit[:12]}{dash}{more})" if commit else ""


def of_tree(root: Path) -> str:
    """Return the commit that a working tree is at; empty where ``root`` is none.

    Read without git, which may not be there, or may not trust the tree's owner.
    """
    if not (root / "pyproject.toml").is_file():
        return ""  # somebody else's repository, in which we are installed
    try:
        own = _directory(root)
        head = _line(own / "HEAD")
        if head.startswith(_REFERENCE):
            head = _of_reference(own, head.removeprefix(_REFERENCE).strip())
    except (OSError, ValueError):
        return ""
    return head if _COMMIT.fullmatch(head) else ""


def _directory(root: Path) -> Path:
    """Return where git keeps what it knows of this tree; a file names it in a second tree."""
    place = root / ".git"
    if place.is_file():
        return root / _line(place).removeprefix(_LINK).strip()
    return place


def _of_reference(own: Path, name: str) -> str:
    """Look a branch up: each is a file, or a line of the file of many."""
    common = own / _line(own / "commondir") if (own / "commondir").is_file() else own
    if (common / name).is_file():
        return _line(common / name)
    for line in (common / "packed-refs").read_text(encoding="utf-8").splitlines():
        commit, _, packed = line.partition(" ")
        if packed == name:
            return commit
    return ""


def _line(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip()
