"""The daemon itself: whether one runs, its port, and what systemd says of its unit."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import anyio

from runner import __version__
from runner.control.client import NoDaemon, Refusal, ask
from runner.doctor.check import Finding, failed, ok, skipped, warning
from runner.doctor.examination import Tell, aside
from runner.doctor.patient import Patient
from runner.resources.lock_holder import holder
from runner.settings.listening import Listen

_ANSWER = 10.0
_UNIT = "studio-runner.service"
_PROPERTIES = "LoadState,ActiveState,SubState,Result,NRestarts,UnitFileState"
_JOURNAL = f"journalctl -u {_UNIT} -n 50"


async def look(patient: Patient, tell: Tell) -> None:
    """Ask the control socket, then the port with that answer in mind, then systemd."""
    daemon = await _daemon(patient, tell)
    listen = patient.settings.listen
    if listen is None:
        tell(skipped("--listen is empty: no health, metrics and status", about="port"))
    else:
        tell(await aside(lambda: _port(listen, daemon)))
    tell(await _unit())


async def _daemon(patient: Patient, tell: Tell) -> Mapping[str, Any] | None:
    state, about = patient.settings.state_dir, "daemon"
    try:
        with anyio.fail_after(_ANSWER):
            items = [item async for item in ask(patient.places.control, "status")]
        found: Mapping[str, Any] = items[0]["daemon"]
    except (NoDaemon, TimeoutError) as error:
        pid = holder(state / "lock")
        tell(_silent(pid, str(error), state, about))
        return None
    except (Refusal, LookupError) as error:
        tell(warning(f"the daemon gives no status: {error}", "restart it", about))
        return None
    tell(_of_daemon(found, about))
    return found


def _silent(pid: int | None, why: str, state: Path, about: str) -> Finding:
    if pid is None and "another user" not in why:
        return skipped(f"no daemon runs with --state-dir {state}", "studio-runner run", about)
    if pid is None:
        return warning(why, "run the doctor as the daemon's user", about)
    return failed(
        f"the daemon with pid {pid} holds {state} and does not answer within {_ANSWER:g} s",
        f"{_JOURNAL}; then systemctl restart {_UNIT}: its runs go on",
        about,
    )


def _of_daemon(found: Mapping[str, Any], about: str) -> Finding:
    version = str(found.get("version", "unknown"))
    troubled = [one for one in found.get("sources", ()) if one.get("trouble")]
    sentence = f"version {version} runs with pid {found.get('pid')}"
    if troubled:
        return warning(
            f"{sentence}; {len(troubled)} of its sources are in trouble: "
            + "; ".join(f"{one.get('origin')}: {one.get('trouble')}" for one in troubled[:3]),
            "studio-runner status",
            about,
        )
    if version != __version__:
        return warning(
            f"{sentence}, and this is version {__version__}",
            "systemctl reload studio-runner, or studio-runner reload: runs go on",
            about,
        )
    if found.get("draining"):
        return warning(
            f"{sentence}; it drains: nothing more is taken",
            "start it again when it has ended",
            about,
        )
    if suspended := found.get("suspended_by"):
        by = ", ".join(map(str, suspended))
        return warning(
            f"{sentence}; it claims nothing, suspended by {by}", "studio-runner resume", about
        )
    return ok(sentence, about)


def _port(listen: Listen, daemon: Mapping[str, Any] | None) -> Finding:
    """Bind and let go: without listening it is in nobody's way."""
    about = f"port --listen {listen}"
    if listen.port == 0:
        return ok("the daemon takes one that is free", about)
    host = listen.host or "0.0.0.0"  # noqa: S104 - what the option says
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, listen.port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except socket.gaierror as error:
        return failed(f"no address of this machine: {error.strerror}", "correct --listen", about)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return failed(f"it cannot be listened on: {error.strerror}", "correct --listen", about)
        return _taken(listen, daemon, about)
    if daemon is not None:
        return warning(
            "it is free although a daemon runs: that one listens elsewhere",
            "give the doctor the daemon's options: --service, or --config FILE",
            about,
        )
    return ok("it is free", about)


def _taken(listen: Listen, daemon: Mapping[str, Any] | None, about: str) -> Finding:
    holders = _listeners(listen.port)
    ours = daemon.get("pid") if daemon else None
    if ours is not None and (ours in holders or not holders):
        return ok(f"our daemon, pid {ours}, listens on it", about)
    who = f"the process {min(holders)}" if holders else "another process"
    remedy = f"end that one (ss -ltnp sport = :{listen.port}), or set --listen"
    return failed(f"{who} listens on it", remedy, about)


def _listeners(port: int) -> set[int]:
    """Return the processes that listen on a port, those that we may look into."""
    wanted = {f"socket:[{inode}]" for inode in _listening(port)}
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - thousands
    return {pid for pid in pids if wanted and _has_open(pid, wanted)}


def _has_open(pid: int, wanted: Collection[str]) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return any(os.readlink(entry) in wanted for entry in entries)  # noqa: PTH115 - likewise
    except OSError:  # it has ended, or is somebody else's
        return False


def _listening(port: int) -> set[str]:
    """Return the inodes of sockets that listen (state 0A) on a port."""
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


async def _unit() -> Finding:
    if not await aside(_is_systemd):
        return skipped("this machine is not run by systemd", about=_UNIT)
    done = await anyio.run_process(
        ["systemctl", "show", _UNIT, "--property", _PROPERTIES], check=False
    )
    lines = done.stdout.decode(errors="replace").splitlines()
    return of_unit(dict(line.split("=", 1) for line in lines if "=" in line))


def _is_systemd() -> bool:
    return shutil.which("systemctl") is not None and Path("/run/systemd/system").is_dir()


def of_unit(said: Mapping[str, str], about: str = _UNIT) -> Finding:
    """Judge what ``systemctl show`` says. Pure."""
    if said.get("LoadState") != "loaded":
        return skipped("there is no such unit (yet)", "sudo studio-runner install-service", about)
    state = f"{said.get('ActiveState')} ({said.get('SubState')})"
    if said.get("ActiveState") == "failed" or said.get("SubState") == "auto-restart":
        result, restarts = said.get("Result"), said.get("NRestarts", "0")
        return failed(f"{state}: {result}, {restarts} restarts", _JOURNAL, about)
    if said.get("UnitFileState") not in {"enabled", "static", "generated"}:
        return warning(f"{state}, and not started at boot", f"systemctl enable {_UNIT}", about)
    if said.get("ActiveState") in {"activating", "deactivating"}:
        return warning(state, "look again when that is over", about)
    if said.get("ActiveState") not in {"active", "reloading"}:
        return warning(state, f"systemctl start {_UNIT}", about)
    return ok(state, about)
