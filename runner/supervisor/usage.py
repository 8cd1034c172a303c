"""How much memory and how many processes and threads a run has, read from ``/proc``."""

from __future__ import annotations

import os

from runner.supervisor import processes

_KIB = 1024
_ROUGH = (b"RssAnon", b"RssShmem", b"VmSwap")
_EXACT = (b"Pss_Anon", b"Pss_Shmem", b"SwapPss")
_EXACT_OF_OLD_KERNELS = (b"Pss", b"SwapPss")


class Usage:
    """What all processes below one use together."""

    __slots__ = ("memory", "pids", "threads")

    def __init__(self, memory: int, threads: int, pids: list[int]) -> None:
        #: Bytes that are nobody's file. What processes share counts for each: at least as much as
        #: there is, and after a fork many times as much.
        self.memory = memory
        self.threads = threads
        self.pids = pids


def below(root: int) -> Usage:
    """Add up what the processes below ``root`` use, without ``root``."""
    memory = threads = 0
    pids = _descendants(root)
    for pid in pids:
        status = _read(pid, "status")
        memory += _sum(status, _ROUGH)
        threads += _field(status, b"Threads")
    return Usage(memory, threads, pids)


def exactly(pids: list[int]) -> int:
    """Return their memory in bytes with what is shared counted once.

    The kernel walks through all their pages for it: 15 to 25 ms for each gigabyte. What it does not
    tell of a process is taken as for ``below``.
    """
    total = 0
    for pid in pids:
        found = _read(pid, "smaps_rollup")
        if b"\nPss_Anon:" in found:
            total += _sum(found, _EXACT)
        elif found:
            total += _sum(found, _EXACT_OF_OLD_KERNELS)
        else:
            total += _sum(_read(pid, "status"), _ROUGH)
    return total


def _descendants(root: int) -> list[int]:
    """Ask each process for its children: what others run on the machine costs nothing then."""
    found, left = list[int](), [root]
    while left:
        pid = left.pop()
        children = _children(pid)
        if children is None:  # a kernel that does not tell
            return [process.pid for process in processes.descendants(root)]
        found += children
        left += children
    return found


def _children(pid: int) -> list[int] | None:
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []  # it has ended
    found = list[int]()
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children", "rb", 0) as file:
                found += map(int, file.read().split())
        except FileNotFoundError:
            if os.path.exists(f"/proc/{pid}/task/{task}"):
                return None
        except OSError:
            pass  # it has ended while being read
    return found


def _sum(text: bytes, names: tuple[bytes, ...]) -> int:
    return sum(_field(text, name) for name in names) * _KIB


def _field(text: bytes, name: bytes) -> int:
    _, _, rest = text.partition(b"\n" + name + b":")
    return int(rest[: rest.find(b"\n")].split()[0]) if rest else 0


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb", 0) as file:
            return file.read()
    except OSError:
        return b""  # gone, or not ours to look into
