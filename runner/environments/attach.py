"""The thin virtual environment of one run: its own, in front of a shared one that it cannot change.

What the run installs goes into its own directory and wins. The shared packages come through one
``.pth`` line that calls ``site.addsitedir``: a plain path would not read the shared ``.pth`` files.
"""

from __future__ import annotations

import os
from pathlib import Path

from runner.environments import interpreters, scripts, venv
from runner.environments.manifest import Manifest
from runner.model import Identity

_PTH = "_studio_runner_shared.pth"
_DATA = ("share", "etc", "include")
#: Links made for data files at most; beyond, a whole directory is linked.
_LINKS = 500


def attach(root: Path, known: Manifest, into: Path, owner: Identity | None) -> Path:
    """Make ``into`` a virtual environment over the shared one at ``root``; return its Python."""
    interpreter = interpreters.restore(known.interpreter)
    packages = venv.make(into, interpreter, frugal=True)
    shared = (str(venv.site_packages(root, interpreter)), *known.beneath)
    calls = "; ".join(f"site.addsitedir({place!r})" for place in shared)
    (packages / _PTH).write_text(f"import site; {calls}\n")
    _link_programs(root, known, into)
    budget = _LINKS
    for name in _DATA:
        if (root / name).is_dir():
            budget = _mirror(root / name, into / name, budget)
    into.chmod(0o700)  # its run's alone
    if owner is not None:
        _hand_over(into, owner)
    return into / "bin" / "python"


def _link_programs(root: Path, known: Manifest, into: Path) -> None:
    python = str(into / "bin" / "python")
    written = dict[bytes, Path]()
    for name in known.scripts:
        target = into / "bin" / name
        text = scripts.with_interpreter((root / "bin" / name).read_bytes(), python)
        if text in written:  # as pip, pip3 and pip3.11 are
            venv.same(written[text], target)
            continue
        target.write_bytes(text)
        target.chmod(0o755)
        written[text] = target
    for name in known.programs:
        (into / "bin" / name).symlink_to(root / "bin" / name)


def _mirror(source: Path, target: Path, budget: int) -> int:
    """Link the files of ``source``, in directories of our own so that more can be put there."""
    entries = list(os.scandir(source))
    if len(entries) > budget:
        target.symlink_to(source)
        return budget
    target.mkdir()
    budget -= len(entries)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            budget = _mirror(Path(entry.path), target / entry.name, budget)
        else:
            (target / entry.name).symlink_to(entry.path)
    return budget


def _hand_over(root: Path, owner: Identity) -> None:
    os.chown(root, owner.uid, owner.gid)
    for _, folders, files, descriptor in os.fwalk(str(root), follow_symlinks=False):
        for name in (*folders, *files):
            os.chown(name, owner.uid, owner.gid, dir_fd=descriptor, follow_symlinks=False)
