"""What lies in a directory, as far as its times prove anything."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from runner.archives.stamps import is_past, seen, wait_past
from runner.archives.stopping import Check, check_of
from runner.archives.walk import walk


def look(
    directory: Path, *, mapped: Callable[[], Collection[int]], check: Check | None = None
) -> Mapping[str, str]:
    """Return ``stamps.seen`` by relative name; no file is read. Raises OSError for ``directory``.

    Left out is what may change without another stamp: what was changed in this very tick of the
    stamping clock, and files whose inode is in ``mapped``. That is asked after the look, because
    the first write through a later map does stamp the file.
    """
    check = check_of(None, check)
    found: dict[str, tuple[str, int, int]] = {}
    youngest = 0
    for entry in walk(directory, lambda *_: None):
        check()
        state = entry.state
        youngest = max(youngest, state.st_ctime_ns)
        found[entry.name] = seen(state), state.st_ctime_ns, state.st_ino
    wait_past(youngest)
    doubtful = mapped()
    return {
        name: text
        for name, (text, stamp, inode) in found.items()
        if is_past(stamp) and inode not in doubtful
    }
