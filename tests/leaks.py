"""The check around every test that it left nothing behind: threads, processes, descriptors, files.

Two looks at ``/proc`` cost a fraction of a millisecond. Only when they differ is there a pause, in
which what is just ending may end, and then a failure that names what stayed.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

#: Seconds that something already ending is given to be gone.
PATIENCE = 20.0
#: Libraries open these once and for all.
HARMLESS = frozenset({"/dev/null", "/dev/urandom"})

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Snapshot:
    """What the test process has, and which processes the machine runs."""

    threads: frozenset[threading.Thread]
    descriptors: frozenset[tuple[int, str]]
    pids: frozenset[int]
    #: Our own children and theirs at that moment: services of a wider scope may fork at will.
    family: frozenset[int]

    @classmethod
    def take(cls) -> Snapshot:
        """Look now."""
        pids = frozenset(_numbers_in("/proc"))
        family = frozenset(_descendants(os.getpid()))
        return cls(frozenset(threading.enumerate()), frozenset(_descriptors()), pids, family)


@dataclass(frozen=True)
class Leaks:
    """What was not there before the test."""

    threads: tuple[threading.Thread, ...] = ()
    processes: tuple[int, ...] = ()
    descriptors: tuple[tuple[int, str], ...] = ()
    files: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any((self.threads, self.processes, self.descriptors, self.files))

    def __str__(self) -> str:
        lines = [f"thread {thread.name!r}" for thread in self.threads]
        lines += [f"process {pid}: {_command(pid)}" for pid in self.processes]
        lines += [f"file descriptor {number} -> {target}" for number, target in self.descriptors]
        lines += [f"entry {name!r} in the temporary directory" for name in self.files]
        return "the test left behind:\n  " + "\n  ".join(lines)


@pytest.fixture(autouse=True)
def leak_check(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Give the test a temporary directory of its own and fail when it leaves anything behind."""
    base = tmp_path_factory.getbasetemp()
    marker = request.node.get_closest_marker("leaky")
    with _temporary_directory(base) as directory:
        before = Snapshot.take()
        yield
        if marker is None:
            leaks = _wait_for_none(before, base, directory)
            if leaks:
                sentence = str(leaks)
                _end(leaks.processes)
                pytest.fail(sentence, pytrace=False)
        elif not marker.args:
            pytest.fail("the marker leaky needs a reason: leaky('why')", pytrace=False)


@contextlib.contextmanager
def _temporary_directory(base: Path) -> Iterator[Path]:
    """Point ``tempfile`` and ``TMPDIR`` at a new directory; a short name, sockets live in it."""
    directory = base / f"tmp{next(_numbers)}"
    directory.mkdir(mode=0o777)
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(directory)
    try:
        yield directory
    finally:
        tempfile.tempdir = before
        if variable is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = variable
        try:
            directory.rmdir()
        except OSError:  # not empty, or removed by the test
            shutil.rmtree(directory, ignore_errors=True)


def _wait_for_none(before: Snapshot, base: Path, directory: Path) -> Leaks:
    leaks = _compare(before, base, directory)
    if not leaks:
        return leaks
    gc.collect()
    end = time.monotonic() + PATIENCE
    while (leaks := _compare(before, base, directory)) and time.monotonic() < end:
        time.sleep(0.01)
    return leaks


def _compare(before: Snapshot, base: Path, directory: Path) -> Leaks:
    mark = f"{base}/".encode()
    return Leaks(
        threads=tuple(
            thread
            for thread in threading.enumerate()
            if thread not in before.threads and not _pooled(thread)
        ),
        processes=tuple(
            pid
            for pid in _numbers_in("/proc")
            if pid not in before.pids and _is_ours(pid, before, mark)
        ),
        descriptors=tuple(
            found
            for found in _descriptors()
            if found not in before.descriptors and found[1] not in HARMLESS
        ),
        files=tuple(sorted(_names_in(directory))),
    )


def _pooled(thread: threading.Thread) -> bool:
    """Tell whether this is a worker thread of an event loop that still runs: it ends with it."""
    loop = getattr(thread, "loop", None)
    return loop is not None and not loop.is_closed()


def _descriptors() -> Iterator[tuple[int, str]]:
    for number in _numbers_in("/proc/self/fd"):
        # the one that listed the directory is closed by now
        with contextlib.suppress(FileNotFoundError):
            yield number, str(Path(f"/proc/self/fd/{number}").readlink())


def _descendants(pid: int) -> Iterator[int]:
    for thread in _numbers_in(f"/proc/{pid}/task"):
        for child in _read(f"/proc/{pid}/task/{thread}/children").split():
            yield int(child)
            yield from _descendants(int(child))


def _is_ours(pid: int, before: Snapshot, mark: bytes) -> bool:
    """Tell whether the test made this process: a descendant, or an orphan that bears its mark."""
    for ancestor in _ancestry(pid):
        if ancestor in before.family:
            return False
        if ancestor == os.getpid():
            return pid != _resource_tracker()
    with contextlib.suppress(OSError):
        if bytes(Path(f"/proc/{pid}/cwd").readlink()).startswith(mark):
            return True
    return any(mark in _read(f"/proc/{pid}/{name}") for name in ("environ", "cmdline"))


def _ancestry(pid: int) -> Iterator[int]:
    while pid > 1:
        # the command's name is in brackets and may hold anything
        fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        if len(fields) < 2:
            return
        pid = int(fields[1])
        yield pid


def _resource_tracker() -> int | None:
    """Return the process that multiprocessing keeps for the life of the interpreter."""
    from multiprocessing import resource_tracker  # noqa: PLC0415 - few tests have loaded it

    found = getattr(resource_tracker, "_resource_tracker", None)
    pid = getattr(found, "_pid", None)
    return pid if isinstance(pid, int) else None


def _names_in(directory: str | Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries]
    except OSError:  # the process is gone, or the test removed the directory
        return []


def _numbers_in(directory: str) -> Iterator[int]:
    return (int(name) for name in _names_in(directory) if name.isdigit())


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:  # gone, or another user's
        return b""


def _command(pid: int) -> str:
    words = _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
    return words or "a zombie that nobody waited for"


def _end(pids: tuple[int, ...]) -> None:
    """Kill what was left, so that the tests after this one are not disturbed by it."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.waitpid(pid, 0)
