"""Which commit this installation was built from, where its builder wrote that down."""

from __future__ import annotations

from pathlib import Path

#: Written by a release and by the image's build; no file of the repository.
FILE = "commit.txt"


def revision() -> str:
    """Return the commit's full name; empty in a working tree and in builds of one's own."""
    try:
        return Path(__file__).with_name(FILE).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def shown() -> str:
    """Return the commit as it is put behind a version, ``" (0123456789ab)"``; empty likewise."""
    commit, dash, more = revision().partition("-")
    return f" ({commit[:12]}{dash}{more})" if commit else ""
