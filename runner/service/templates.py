"""The service's files as they are shipped, filled in for one installation.

``python -m runner.service.templates DIRECTORY`` writes those of ``deploy/systemd``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from runner.errors import Misconfigured

UNIT = "studio-runner.service"
RUNS_SLICE = "studio-runner-runs.slice"
DRAIN_ON_STOP = "drain-on-stop.conf"
ENVIRONMENT = "environment"
APPARMOR = "apparmor"
SYSUSERS = "sysusers.conf"

#: The user that experiments run as, unless the operator names one.
USER = "studio-runner-experiments"
#: Where the documentation has the daemon installed.
COMMAND = ("/opt/studio-runner/bin/studio-runner",)

#: What lies in ``deploy/systemd``, below that directory.
DEPLOYED = {
    UNIT: UNIT,
    RUNS_SLICE: RUNS_SLICE,
    f"{UNIT}.d/{DRAIN_ON_STOP}.example": DRAIN_ON_STOP,
    ENVIRONMENT: ENVIRONMENT,
    "apparmor.d/studio-runner-bwrap": APPARMOR,
    "sysusers.d/studio-runner.conf": SYSUSERS,
}

#: What means something in a command line of systemd's.
_SPECIAL = str.maketrans({"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$"})
#: It takes the program's own name without variables, and refuses quotes and backslashes in it.
_SPECIAL_IN_PROGRAM = str.maketrans({"%": "%%"})


def filled(name: str, *, command: Sequence[str] = COMMAND, user: str = USER) -> str:
    """Return the file ``name`` for a daemon that ``command`` starts and experiments of ``user``."""
    text = resources.files(__package__).joinpath("files", name).read_text(encoding="utf-8")
    return text.replace("@COMMAND@", command_line(command)).replace("@USER@", user)


def of_users(users: Sequence[str]) -> str:
    """Return the file that has systemd make these users."""
    lines = filled(SYSUSERS, user="@USER@").splitlines(keepends=True)
    made = "".join(line for line in lines if line.startswith("u "))
    said = "".join(line for line in lines if not line.startswith("u "))
    return said + "".join(made.replace("@USER@", user) for user in users)


def command_line(words: Sequence[str]) -> str:
    """Write words so that systemd reads them back as they are.

    Raises Misconfigured where it cannot read the program's name.
    """
    program, *arguments = words
    if any(not c.isprintable() or c in "\"'\\" for c in program):
        raise Misconfigured(
            f"systemd starts no program called {program!r}: install studio-runner in a directory "
            "whose name has no quotes and backslashes, such as /opt/studio-runner"
        )
    escaped = (program.translate(_SPECIAL_IN_PROGRAM), *(a.translate(_SPECIAL) for a in arguments))
    return " ".join(map(_quoted, escaped))


def _quoted(escaped: str) -> str:
    is_plain = all(c.isalnum() or c in "/._-+=:@,%$" for c in escaped)
    return escaped if is_plain and escaped else f'"{escaped}"'


def deployed() -> Mapping[str, str]:
    """Return the files of ``deploy/systemd`` by their path there."""
    return {path: filled(name) for path, name in DEPLOYED.items()}


if __name__ == "__main__":
    for path, content in deployed().items():
        file = Path(sys.argv[1], path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
