"""The git repository that a release is made from; nothing here talks to another machine."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from release.versions import Refused


@dataclass(frozen=True, slots=True)
class Repository:
    """A working tree with its history."""

    root: Path

    def git(self, *words: str) -> str:
        """Run git and return what it prints. Raises Refused with its own words."""
        command = ["git", "-C", str(self.root), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Refused(f"git {words[0]} failed: {done.stderr.strip()}")
        return done.stdout.rstrip()

    def branch(self) -> str:
        """Return the branch that is checked out. Raises Refused where there is none."""
        name = self.git("branch", "--show-current")
        if not name:
            raise Refused("no branch is checked out, and a release is a commit on one")
        return name

    def check_clean(self) -> None:
        """Raise Refused when there is anything that no commit has."""
        changes = self.git("status", "--porcelain").splitlines()
        if changes:
            listed = ", ".join(line[3:] for line in changes[:5])
            more = f" and {len(changes) - 5} more" if len(changes) > 5 else ""  # noqa: PLR2004 - the five listed
            raise Refused(f"the tree has changes: commit or remove them first ({listed}{more})")

    def tags(self) -> list[str]:
        """Return the names of all tags."""
        return self.git("tag", "--list").splitlines()

    def files(self, below: str) -> list[str]:
        """Return what git knows below a directory."""
        return self.git("ls-files", below).splitlines()

    def clone(self, place: Path) -> Self:
        """Return a copy of what is checked out, in which nothing that happens matters."""
        self.git("clone", "--quiet", "--branch", self.branch(), str(self.root), str(place))
        clone = type(self)(place)
        for name in ("user.name", "user.email"):
            # Where neither is set, the environment may say it, or git says what to do.
            if value := self.git("config", "--default", "", "--get", name):
                clone.git("config", name, value)
        return clone

    def commit(self, message: str) -> str:
        """Commit every change to what git knows; return the commit's full name."""
        self.git("commit", "--quiet", "--all", "--message", message)
        return self.git("rev-parse", "HEAD")

    def time(self) -> int:
        """Return when the last commit was made, in seconds since 1970."""
        return int(self.git("log", "-1", "--format=%ct"))

    def take(self, other: Repository) -> None:
        """Go on to what another repository has added to our branch, and to nothing else."""
        self.git("pull", "--quiet", "--ff-only", str(other.root), self.branch())
