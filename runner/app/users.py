"""Whom experiments run as, from the settings; a pool of users is looked at before it is used."""

from __future__ import annotations

import os
import pwd
from collections import Counter
from collections.abc import Sequence

from runner import log
from runner.errors import Misconfigured
from runner.lifecycle.runs.users import Users
from runner.model import Identity
from runner.settings import Settings
from runner.settings.users import RunAs

_log = log.get_logger(__name__)

#: Below, systems number users of their own that own files and services.
_FIRST = 100
#: Everybody's nobody: file servers, daemons and containers are it, too.
_NOBODY = 65534
#: What lets nobody log in.
_NO_SHELLS = frozenset({"", "nologin", "false"})


def named(settings: Settings) -> dict[Identity, str]:
    """Return the users of --run-as with their names. Raises Misconfigured for a pool that is none.

    Everything that a pool's user has is ended and removed with its experiment.
    """
    if len(settings.run_as) > 1:
        _check(settings.run_as)
    return {Identity(user.uid, user.gid): user.name for user in settings.run_as}


def users(settings: Settings, identity: Identity | None) -> Users:
    """Return who can be had, and say how many experiments that allows."""
    pool = named(settings)
    if len(pool) < 2:  # noqa: PLR2004 - one is everybody's
        return Users(identity)
    _log.info(
        f"every experiment runs as a user of its own: at most {len(pool)} at a time, as many as "
        "--run-as names"
    )
    return Users(pool=pool)


def at_most(settings: Settings) -> int:
    """Return how many experiments may be there at a time; 0: as many as there is room for."""
    bounds = [settings.max_experiments, len(settings.run_as) if len(settings.run_as) > 1 else 0]
    return min((bound for bound in bounds if bound), default=0)


def _check(pool: Sequence[RunAs]) -> None:
    if os.geteuid() != 0:
        raise Misconfigured(
            f"--run-as names {len(pool)} users, and only root can run experiments as another user: "
            "run the daemon as root, or without --run-as"
        )
    (uid, count) = Counter(user.uid for user in pool).most_common(1)[0]
    if count > 1:
        raise Misconfigured(f"--run-as names the user {uid} {count} times: name each once")
    for user in pool:
        if why := _unfit(user):
            raise Misconfigured(
                f"--run-as names {user.name} ({user.uid}) as one of several users, {why}: "
                "everything of such a user is ended and removed with its experiment; name users "
                "that are there for this alone (install-service --run-as-pool N makes some)"
            )


def _unfit(user: RunAs) -> str:
    if user.uid in {0, os.geteuid()}:
        return "who is the daemon's own"
    if user.uid < _FIRST or user.uid == _NOBODY:
        return "who is also a user of the system"
    try:
        shell = pwd.getpwuid(user.uid).pw_shell
    except KeyError:
        return ""
    return "" if os.path.basename(shell) in _NO_SHELLS else "who can log in"  # noqa: PTH119 - a name
