"""What the machine, or the directory that will be one, has already. Looks, and changes nothing."""

from __future__ import annotations

import pwd
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.service.steps import PROGRAMS

#: The name of our own profile.
PROFILE = "studio-runner-bwrap"
_ATTACHED_TO_BWRAP = re.compile(r"^\s*(profile\s+\S+\s+)?/usr/bin/bwrap\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the service is installed, and what is there."""

    #: ``/``, or the directory that an image is built in.
    root: Path
    #: Systemd is process 1 here, and this is its machine.
    is_booted: bool
    has_sysusers: bool
    #: The users of the experiments are there, all of them.
    has_user: bool
    #: AppArmor is there in a version that knows of user namespaces.
    has_apparmor: bool
    #: AppArmor is in force, so that a profile can be loaded.
    enforces_apparmor: bool
    #: Somebody else's profile of bubblewrap; empty: none.
    foreign_profile: str
    #: The users that we made.
    made_users: tuple[str, ...]

    def at(self, path: str) -> Path:
        """Return where an absolute path lies below the root."""
        return self.root / path.lstrip("/")

    @property
    def is_live(self) -> bool:
        """Tell whether it is the machine that we run on."""
        return self.root == Path("/")


def look(root: Path, users: Sequence[str] = ()) -> Machine:
    """Find out."""
    is_live = root == Path("/")
    profiles = root / "etc/apparmor.d"
    enforced = Path("/sys/kernel/security/apparmor/profiles")
    return Machine(
        root=root,
        is_booted=is_live and Path("/run/systemd/system").is_dir(),
        has_sysusers=shutil.which("systemd-sysusers", path=PROGRAMS) is not None,
        has_user=all(_has_user(root, user) for user in users),
        has_apparmor=(profiles / "abi/4.0").exists(),
        enforces_apparmor=is_live and enforced.exists(),
        foreign_profile=_foreign(profiles),
        made_users=_made(root / "etc/sysusers.d/studio-runner.conf"),
    )


def _has_user(root: Path, user: str) -> bool:
    if root != Path("/"):
        names = _lines(root / "etc/passwd")
        return any(line.partition(":")[0] == user for line in names)
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _made(conf: Path) -> tuple[str, ...]:
    words = (line.split() for line in _lines(conf))
    return tuple(word[1] for word in words if word[:1] == ["u"])


def _foreign(profiles: Path) -> str:
    if not profiles.is_dir():
        return ""
    for path in sorted(profiles.iterdir()):
        if path.name != PROFILE and path.is_file():
            text = "\n".join(_lines(path))
            if _ATTACHED_TO_BWRAP.search(text):
                return path.name
    return ""


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
