"""What the kernel and its limits give to runs: mounts, pidfd, watches, files."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import runner.supervisor
from runner.doctor.check import Finding, ok, warning
from runner.doctor.examination import Tell, tell_all
from runner.doctor.patient import Patient
from runner.supervisor import fence

_PROBE_PATIENCE = 10.0
_INSTANCES, _WATCHES, _FILES, _PROCESSES = 64, 8192, 1024, 1024


async def look(patient: Patient, tell: Tell, *, root: Path = Path("/")) -> None:
    """Try what can be tried, read what is written of the rest."""
    del patient
    await tell_all(lambda: _findings(root), tell)


def _findings(root: Path) -> Iterator[Finding]:
    yield _of_mounts(root)
    yield _of_pidfd()
    yield of_fence(whole=fence.keeps_apart())
    yield _of_watches(root)
    yield _of_limit("open files", resource.RLIMIT_NOFILE, _FILES, "LimitNOFILE=65536")
    yield _of_limit("processes", resource.RLIMIT_NPROC, _PROCESSES, "TasksMax=infinity")


def _of_mounts(root: Path) -> Finding:
    """Make read-only binds and hide something, in a process of its own."""
    script = Path(runner.supervisor.__file__).with_name("probe.py")
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(script)],
            capture_output=True,
            text=True,
            timeout=_PROBE_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return warning(
            f"to try a mount was not over within {_PROBE_PATIENCE:g} s",
            "see what hangs: mount, dmesg",
            "mounts",
        )
    how = "as root" if os.geteuid() == 0 else "in a user namespace"
    if done.returncode == 0:
        return ok(f"Linux {os.uname().release}: runs can have mounts of their own, {how}", "mounts")
    why = done.stderr.strip().splitlines()[-1:] or ["no reason told"]
    return warning(
        f"runs can have no mounts of their own, {how}: {why[0]}; nothing can be hidden from them",
        _mounting(root),
        "mounts",
    )


def _mounting(root: Path) -> str:
    """Return the command that most likely helps."""
    if os.geteuid() == 0:
        return "give the container CAP_SYS_ADMIN, or run the daemon outside of one"
    if _number(root / "proc/sys/user/max_user_namespaces") == 0:
        return "sysctl user.max_user_namespaces=15000"
    if _number(root / "proc/sys/kernel/unprivileged_userns_clone") == 0:
        return "sysctl kernel.unprivileged_userns_clone=1"
    if _number(root / "proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1:
        return "studio-runner install-service (its AppArmor profile), or run the daemon as root"
    return "run the daemon as root with --run-as, or allow user namespaces in the container"


def _of_pidfd() -> Finding:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (OSError, AttributeError):
        return warning(
            "no pidfd: the end of runs is looked for ten times a second",
            "use Linux 5.3 or newer",
            "pidfd",
        )
    return ok("the end of a process is told at once", "pidfd")


def of_fence(*, whole: bool) -> Finding:
    """Say what Landlock gives; where runs have processes of their own they need less of it."""
    if whole:
        return ok("runs signal nobody else, and reach no sockets without a file", "landlock")
    return warning(
        "no Landlock with scopes: runs reach others' sockets without a file (D-Bus, X11, container "
        "engines), and where nothing can be mounted they can end what is their user's",
        "use Linux 6.12 or newer with landlock among the security modules (lsm=), --network off, "
        "or --run-as with a user for each",
        "landlock",
    )


def _of_watches(root: Path) -> Finding:
    folder = root / "proc/sys/fs/inotify"
    instances = _number(folder / "max_user_instances")
    watches = _number(folder / "max_user_watches")
    if instances is None or watches is None:
        return warning(
            "no inotify: directories are looked at every --queue-poll",
            "use a kernel with inotify; a container has that of the machine around it",
            "inotify",
        )
    if instances < _INSTANCES or watches < _WATCHES:
        return warning(
            f"{instances} watchers of {watches} files for each user: new credentials and local "
            "messages may be seen late",
            "sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288",
            "inotify",
        )
    return ok(f"{instances} watchers, {watches} watches for each user", "inotify")


def _of_limit(what: str, limit: int, least: int, unit: str) -> Finding:
    soft, _ = resource.getrlimit(limit)
    if soft == resource.RLIM_INFINITY:
        return ok("no limit", what)
    if soft < least:
        return warning(f"at most {soft}", f"{unit} in the service's unit, or ulimit", what)
    return ok(f"at most {soft}", what)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
