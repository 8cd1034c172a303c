"""Which steps set the service up on a machine, and which take it away. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runner.service import templates
from runner.service.machine import PROFILE, Machine
from runner.service.steps import Command, Directory, File, Gone, Note, Step

_UNITS = "/etc/systemd/system"
_SYSUSERS = "/etc/sysusers.d/studio-runner.conf"
_CONFIGURATION = "/etc/studio-runner"
_STATE = "/var/lib/studio-runner"
_PROFILE = f"/etc/apparmor.d/{PROFILE}"
#: Below the one place of our own in which every system's ``man`` looks.
_MANUAL = "/usr/local/share/man/man1/studio-runner.1"
#: Seconds: a last checkpoint may be large.
_LONGEST_STOP = 900.0
_DROP_IN = f"{_UNITS}/{templates.UNIT}.d/{templates.DRAIN_ON_STOP}"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator asks for."""

    #: How the daemon is started, without the word ``run``.
    command: Sequence[str] = templates.COMMAND
    #: Who experiments run as; of a pool how the names of its users begin.
    user: str = templates.USER
    #: So many users, one for each experiment that runs at a time; 0: all are one user.
    pool: int = 0
    #: A stop waits for runs.
    drain_on_stop: bool = False
    #: The text of the manual page.
    manual: str = ""
    #: Configuration, state and user go as well.
    purge: bool = False

    @property
    def users(self) -> tuple[str, ...]:
        """Everybody that experiments run as."""
        if not self.pool:
            return (self.user,)
        return tuple(f"{self.user}-{number}" for number in range(1, self.pool + 1))

    @property
    def run_as(self) -> str:
        """What ``--run-as`` takes."""
        return f"{self.user}-[1-{self.pool}]" if self.pool else self.user


def install(machine: Machine, wish: Wish) -> list[Step]:
    """Return the steps that set the service up; done again they change nothing."""
    return [
        *_user(machine, wish),
        Directory(machine.at(_CONFIGURATION), 0o755),
        Directory(machine.at(f"{_CONFIGURATION}/certs"), 0o700),
        Directory(machine.at(_STATE), 0o711),
        File(
            machine.at(f"{_CONFIGURATION}/environment"),
            templates.filled(templates.ENVIRONMENT),
            0o600,
            keep=True,
        ),
        File(machine.at(_MANUAL), wish.manual),
        *_profile(machine),
        *_units(machine, wish),
        *_reload(machine),
    ]


def uninstall(machine: Machine, wish: Wish) -> list[Step]:
    """Return the steps that take the service away; runs end, what they have stored stays."""
    return [
        *_stop(machine),
        Gone(machine.at(_DROP_IN), and_empty_parent=True),
        Gone(machine.at(f"{_UNITS}/multi-user.target.wants/{templates.UNIT}")),
        Gone(machine.at(f"{_UNITS}/{templates.UNIT}")),
        Gone(machine.at(f"{_UNITS}/{templates.RUNS_SLICE}")),
        *_reload(machine),
        Gone(machine.at(_MANUAL)),
        *_no_profile(machine),
        *_purge(machine, wish),
    ]


def _user(machine: Machine, wish: Wish) -> Iterator[Step]:
    if machine.has_user and not set(wish.users) <= set(machine.made_users):
        for user in wish.users:
            yield Note(f"user {user}", "is there")
        return
    below = () if machine.is_live else (f"--root={machine.root}",)
    if machine.has_sysusers:
        path = machine.at(_SYSUSERS)
        # Those of an earlier wish stay until a purge: files may be theirs.
        users = tuple(dict.fromkeys((*machine.made_users, *wish.users)))
        yield File(path, templates.of_users(users))
        yield Command(("systemd-sysusers", *below, path.name))
    elif not machine.has_user:
        home = ("--no-create-home", "--home-dir", "/nonexistent")
        prefix = () if machine.is_live else ("--prefix", str(machine.root))
        shell = ("--shell", "/usr/sbin/nologin")
        for user in wish.users:
            yield Command(("useradd", *prefix, "--system", "--user-group", *home, *shell, user))


def _profile(machine: Machine) -> Iterator[Step]:
    path = machine.at(_PROFILE)
    if not machine.has_apparmor:
        yield Note("AppArmor", "no profile is needed here: it does not know of user namespaces")
    elif machine.foreign_profile:
        yield Note(
            "AppArmor", f"the profile {machine.foreign_profile} speaks for bubblewrap already"
        )
    else:
        yield File(path, templates.filled(templates.APPARMOR))
        if machine.enforces_apparmor:
            yield Command(("apparmor_parser", "--replace", "--write-cache", str(path)))


def _no_profile(machine: Machine) -> Iterator[Step]:
    path = machine.at(_PROFILE)
    if machine.has_apparmor:
        if machine.enforces_apparmor:
            yield Command(("apparmor_parser", "--remove", str(path)), may_fail=True)
        yield Gone(path)


def _units(machine: Machine, wish: Wish) -> Iterator[Step]:
    unit = templates.filled(templates.UNIT, command=wish.command, user=wish.run_as)
    yield File(machine.at(f"{_UNITS}/{templates.UNIT}"), unit)
    runs = templates.filled(templates.RUNS_SLICE)
    yield File(machine.at(f"{_UNITS}/{templates.RUNS_SLICE}"), runs)
    if wish.drain_on_stop:
        yield File(machine.at(_DROP_IN), templates.filled(templates.DRAIN_ON_STOP))
    else:
        yield Gone(machine.at(_DROP_IN), and_empty_parent=True)


def _reload(machine: Machine) -> Iterator[Step]:
    if machine.is_booted:
        yield Command(("systemctl", "daemon-reload"))


def _stop(machine: Machine) -> Iterator[Step]:
    if machine.is_booted:
        # Not waited for at first: with --drain-on-stop it waits for the runs that end next.
        leaving = ("systemctl", "disable", "--now", "--no-block", templates.UNIT)
        yield Command(leaving, may_fail=True)
        for unit in (templates.RUNS_SLICE, templates.UNIT):
            yield Command(("systemctl", "stop", unit), may_fail=True, patience=_LONGEST_STOP)


def _purge(machine: Machine, wish: Wish) -> Iterator[Step]:
    if not wish.purge:
        for path in (_CONFIGURATION, _STATE):
            yield Note(f"{machine.at(path)}/", "stays; --purge removes it")
        for user in machine.made_users:
            yield Note(f"user {user}", "stays; --purge removes it")
        return
    drop_ins = (f"{_UNITS}/{name}.d" for name in (templates.UNIT, templates.RUNS_SLICE))
    for path in (_CONFIGURATION, _STATE, *drop_ins):
        yield Gone(machine.at(path))
    prefix = () if machine.is_live else ("--prefix", str(machine.root))
    for user in machine.made_users:
        yield Command(("userdel", *prefix, user), may_fail=True)
    if machine.made_users:
        yield Gone(machine.at(_SYSUSERS))
