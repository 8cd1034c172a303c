"""Which processes are a user's, whatever they descend from and whatever session they are in."""

from __future__ import annotations

from runner.supervisor.processes import Process, everyone

_UIDS = b"Uid:"


def of_user(uid: int) -> list[Process]:
    """Return the living processes that are this user, or could become it again."""
    return [process for process in everyone() if uid in _uids(process.pid)]


def _uids(pid: int) -> list[int]:
    """Return who the process is: really, effectively, by what it saved, and to file systems."""
    try:
        with open(f"/proc/{pid}/status", "rb", 0) as file:
            lines = file.read().splitlines()
    except OSError:
        return []  # gone
    found = next((line for line in lines if line.startswith(_UIDS)), _UIDS)
    return [int(number) for number in found[len(_UIDS) :].split()]
