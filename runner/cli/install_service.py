"""``studio-runner install-service``: make the daemon a service of systemd on this machine."""

from __future__ import annotations

import os
import re
import sys
import zipfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner.cli import man
from runner.cli.arguments import ClientCommand
from runner.errors import Misconfigured, RunnerError
from runner.service import machine, plan, templates
from runner.service.steps import Step
from runner.settings.parser import Parser

_ABOUT = (
    "Make the daemon a service of systemd: the user of the experiments, directories, environment "
    "file, units, manual page, and AppArmor's permission for bubblewrap where that is needed. Done "
    "again it changes only what differs; the environment file is never written over. Nothing is "
    "started."
)
_LONGEST, _FEWEST, _MOST = 32, 2, 999
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")

_NEXT = """
Then: credentials into /etc/studio-runner/certs, options into /etc/studio-runner/environment, and
  systemctl enable --now studio-runner"""


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Install. Raises Misconfigured, RunnerError."""
    command = ClientCommand("install-service", _ABOUT, "", settings=(), arguments=_arguments)
    _, chosen = command.parse(argv, environ)
    _check_user(chosen.user, chosen.run_as_pool)
    check_rights(chosen)
    wish = plan.Wish(
        command=own_command(sys.argv[0], sys.executable),
        user=chosen.user,
        pool=chosen.run_as_pool,
        drain_on_stop=chosen.drain_on_stop,
        manual=man.text(),
    )
    found = machine.look(chosen.root, wish.users)
    carry_out(plan.install(found, wish), really=not chosen.dry_run)
    if not chosen.dry_run and found.is_live:
        print(_NEXT)
    return 0


def _arguments(parser: Parser) -> None:
    parser.add_argument(
        "--user",
        metavar="NAME",
        default=templates.USER,
        help=f"user that experiments run as, made where there is none (default: {templates.USER})",
    )
    parser.add_argument(
        "--run-as-pool",
        metavar="N",
        type=int,
        default=0,
        help="make N users, NAME-1 to NAME-N, for N experiments at a time that have nothing in "
        "common; as many as the machine shall run at once",
    )
    parser.add_argument(
        "--drain-on-stop",
        action="store_true",
        help="a stop, a restart and a shutdown wait for runs instead of leaving them alone",
    )
    add_common(parser)


def add_common(parser: Parser) -> None:
    """Add what installing and uninstalling both know."""
    parser.add_argument("--dry-run", action="store_true", help="say the steps, and do none")
    parser.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        default=Path("/"),
        help="the machine is in this directory: for images (default: /)",
    )


def check_rights(chosen: Namespace) -> None:
    """Raise Misconfigured where the steps cannot be done."""
    if not chosen.root.is_dir():
        raise Misconfigured(f"--root {chosen.root} is no directory: give that of an image")
    chosen.root = chosen.root.resolve()
    if chosen.root == Path("/") and os.geteuid() != 0 and not chosen.dry_run:
        raise Misconfigured(
            "setting up a service takes root: say it again with sudo, or with --dry-run"
        )


def carry_out(steps: Sequence[Step], *, really: bool) -> None:
    """Do the steps and say each. Raises RunnerError at the first that fails."""
    for step in steps:
        try:
            done = step.perform(really=really)
        except OSError as error:
            reason = error.strerror or error
            raise RunnerError(f"{step.describe()} cannot be done: {reason}") from error
        print(f"{step.describe()}: {'would be ' if not really and _acts(done) else ''}{done}")


def _acts(done: str) -> bool:
    return done in {"made", "rights changed", "written", "written anew", "removed", "run"}


def own_command(argv0: str, executable: str) -> tuple[str, ...]:
    """Return how this very installation is started from anywhere."""
    script = Path(os.path.abspath(argv0))  # noqa: PTH100 - resolving leads out of an environment
    if script.suffix != ".py" and script.is_file():
        if os.access(script, os.X_OK):
            return (str(script),)
        if zipfile.is_zipfile(script):
            return (executable, str(script))
    return (executable, "-m", "runner")


def _check_user(name: str, pool: int) -> None:
    if pool and not _FEWEST <= pool <= _MOST:
        raise Misconfigured(
            f"--run-as-pool is {pool}: give the number of experiments that run at once, "
            f"{_FEWEST} to {_MOST}; without it all experiments are one user"
        )
    if pool and len(f"{name}-{pool}") > _LONGEST:
        raise Misconfigured(
            f"--user {name!r} is too long for names that end in -{pool}: login names have at most "
            f"{_LONGEST} letters"
        )
    if name == "root" or not _USER.fullmatch(name):
        raise Misconfigured(
            f"--user {name!r} cannot run experiments: give the login name of an ordinary user, "
            "of small letters, digits, - and _"
        )
