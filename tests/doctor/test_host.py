"""The machine: disks, kernel, clock, cores. What fails is brought about for real."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.utils import formatdate
from functools import partial
from pathlib import Path

import pytest

from runner.doctor import clock, disk, kernel, machine
from runner.doctor.check import Verdict
from runner.resources.lock_holder import holder
from tests.doctor.conftest import Clinic
from tests.servers.certificates import self_signed
from tests.servers.web import Reply, WebServer

pytestmark = pytest.mark.anyio

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root: mounts are made")


@contextmanager
def mounted(place: Path, options: str) -> Iterator[Path]:
    """Mount a small disk in memory."""
    place.mkdir(parents=True)
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", options, "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["/bin/umount", str(place)], check=True)


@contextmanager
def dating(date: str) -> Iterator[str]:
    """Answer one request with this date; Python's own servers would add theirs."""

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            head = f"HTTP/1.1 403 Forbidden\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n"
            connection.sendall(head.encode())

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


async def test_directories_that_can_be_used_are_well(clinic: Clinic) -> None:
    """Nothing is made and nothing stays, although it is written to the disk."""
    found = await clinic.look(disk.look, await clinic.patient("--min-free-disk", "1mib"))
    assert found.about("--working-dir").verdict in {Verdict.OK, Verdict.WARNING}
    assert found.about("--state-dir").verdict in {Verdict.OK, Verdict.WARNING}
    assert found.about("floor").verdict is Verdict.OK
    assert list(clinic.root.iterdir()) == []


@needs_root
async def test_a_full_disk_fails(clinic: Clinic) -> None:
    """By writing to it; and the floor says that nothing would be claimed."""
    with mounted(clinic.root / "work", "size=512k") as work:
        patient = await clinic.patient("--working-dir", str(work))
        found = await clinic.look(disk.look, patient)
        assert list(work.iterdir()) == []
    told = found.about("--working-dir")
    assert told.verdict is Verdict.FAILED
    assert "No space left" in told.sentence


@needs_root
async def test_a_disk_that_runs_nothing_fails(clinic: Clinic) -> None:
    """Mounted noexec, as some distributions do with a data disk: no package would load."""
    with mounted(clinic.root / "state", "size=8m,noexec") as state:
        told = (await clinic.look(disk.look, await clinic.patient())).about(f"--state-dir {state}")
        assert told.remedy == f"mount -o remount,exec {state}"
    assert told.verdict is Verdict.FAILED


@needs_root
async def test_promises_beyond_the_disk_are_a_warning(clinic: Clinic) -> None:
    """Budgets are added up for each disk; and memory as a disk is told, too."""
    with mounted(clinic.root / "state", "size=64m") as state:
        patient = await clinic.patient("--cache-size", "1gb", "--min-free-disk", "1mib")
        found = await clinic.look(disk.look, patient)
        (budgets,) = [
            one for one in found.findings if one.about == "budgets" and str(state) in one.sentence
        ]
    assert budgets.verdict is Verdict.WARNING
    assert "--cache-size" in budgets.sentence
    assert "memory (tmpfs)" in found.about("--state-dir").sentence


async def test_a_directory_that_is_none_of_ours_fails(clinic: Clinic) -> None:
    """A file in its place stands for it: root may write to any directory."""
    (clinic.root / "work").write_text("")
    (clinic.root / "work").chmod(0o400)
    patient = await clinic.patient("--working-dir", "/proc/sys/work")
    told = (await clinic.look(disk.look, patient)).about("--working-dir")
    assert told.verdict is Verdict.FAILED


async def test_what_the_kernel_gives_is_told(clinic: Clinic) -> None:
    """Every fact has a verdict; none of them fails by itself."""
    found = await clinic.look(kernel.look, await clinic.patient())
    assert Verdict.FAILED not in found.verdicts
    about = {one.about for one in found.findings}
    assert {"mounts", "pidfd", "landlock", "inotify", "open files", "processes"} == about


@pytest.mark.parametrize(("whole", "verdict"), [(True, Verdict.OK), (False, Verdict.WARNING)])
def test_a_kernel_without_landlock_is_a_warning(*, whole: bool, verdict: Verdict) -> None:
    """With what runs reach then, and what else keeps them from it."""
    told = kernel.of_fence(whole=whole)
    assert told.verdict is verdict
    assert whole or "--network off" in told.remedy


@pytest.mark.parametrize(
    ("files", "about", "words"),
    [
        ({"proc/sys/fs/inotify/max_user_instances": "8"}, "inotify", "no inotify"),
        (
            {
                "proc/sys/fs/inotify/max_user_instances": "8",
                "proc/sys/fs/inotify/max_user_watches": "8192",
            },
            "inotify",
            "8 watchers",
        ),
    ],
)
async def test_what_the_kernel_lacks_is_a_warning(
    clinic: Clinic, files: dict[str, str], about: str, words: str
) -> None:
    """As its files say it."""
    for name, text in files.items():
        path = clinic.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    look = partial(kernel.look, root=clinic.root)
    told = (await clinic.look(look, await clinic.patient())).about(about)
    assert told.verdict is Verdict.WARNING
    assert words in told.sentence


@pytest.mark.parametrize(
    ("off", "verdict"),
    [(0, Verdict.OK), (60, Verdict.WARNING), (-3600, Verdict.FAILED)],
)
async def test_the_clock_is_compared_with_a_server(
    clinic: Clinic, off: int, verdict: Verdict
) -> None:
    """One that the daemon would talk to anyway, by the date that it says."""
    date = formatdate(time.time() + off, usegmt=True)
    with dating(date) as endpoint:
        clinic.aws(endpoint)
        found = await clinic.look(clock.look, await clinic.patient())
    told = found.about("time of day")
    assert told.verdict is verdict, told
    if verdict is not Verdict.OK:
        assert ("behind" if off > 0 else "ahead of") in told.sentence
    assert found.about("steady clock").verdict is Verdict.OK


async def test_the_clock_is_asked_for_through_the_proxy(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the daemon gets to its brokers, where there is no other way."""
    with dating(formatdate(time.time() - 1000, usegmt=True)) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        clinic.aws("http://sqs.invalid")
        told = (await clinic.look(clock.look, await clinic.patient())).about("time of day")
    assert told.verdict is Verdict.FAILED
    assert "ahead of sqs.invalid" in told.sentence


async def test_a_server_of_an_unknown_authority_tells_the_date_too(
    clinic: Clinic, tmp_path: Path
) -> None:
    """By a clock that is years off no certificate is valid."""
    context, _ = self_signed(tmp_path)
    with WebServer(lambda _: Reply(), context).serving() as server:
        clinic.aws(server.url)
        told = (await clinic.look(clock.look, await clinic.patient())).about("time of day")
    assert told.verdict is Verdict.OK


async def test_a_firewall_that_says_nothing_is_no_failure(clinic: Clinic) -> None:
    """The clock may well be right."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        clinic.aws(f"http://127.0.0.1:{silent.getsockname()[1]}")
        look = partial(clock.look, in_all=0.1)
        told = (await clinic.look(look, await clinic.patient())).about("time of day")
    assert told.verdict is Verdict.SKIPPED


async def test_without_a_server_the_clock_is_not_compared(clinic: Clinic) -> None:
    """And a server that does not answer is as good as none."""
    told = (await clinic.look(clock.look, await clinic.patient())).about("time of day")
    assert told.verdict is Verdict.SKIPPED
    clinic.aws("http://127.0.0.1:1")
    told = (await clinic.look(clock.look, await clinic.patient())).about("time of day")
    assert told.verdict is Verdict.SKIPPED


async def test_cores_and_memory_are_those_of_the_daemon(clinic: Clinic) -> None:
    """With the operator's bounds, and without taking any lock."""
    found = await clinic.look(machine.look, await clinic.patient("--max-cores", "1"))
    assert "1 of" in found.findings[0].sentence or os.cpu_count() == 1
    assert not (clinic.root / "locks").exists()
    assert found.about("lock").verdict is Verdict.OK


async def test_two_runners_with_bounds_are_well(clinic: Clinic) -> None:
    """Unless the one that is looked at would give out everything."""
    path = clinic.root / "locks" / "machine.lock"
    path.parent.mkdir()
    path.write_text(json.dumps({"pid": os.getpid(), "state_dir": "/somebody/else"}))
    bounds = ("--max-cores", "1", "--max-mem", "1gib")
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        told = (await clinic.look(machine.look, await clinic.patient(*bounds))).about("lock")
        assert told.verdict is Verdict.OK
        assert "a part of them, as this one would have" in told.sentence
        told = (await clinic.look(machine.look, await clinic.patient())).about("lock")
        assert told.verdict is Verdict.FAILED


async def test_another_runner_on_this_machine_fails(clinic: Clinic) -> None:
    """Told by the kernel's list of locks: the lock itself is not touched."""
    path = clinic.root / "locks" / "machine.lock"
    path.parent.mkdir()
    path.write_text(json.dumps({"pid": os.getpid(), "state_dir": "/somebody/else"}))
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert holder(path) == os.getpid()
        told = (await clinic.look(machine.look, await clinic.patient())).about("lock")
        assert told.verdict is Verdict.FAILED
        assert "/somebody/else" in told.sentence
        path.write_text(json.dumps({"pid": os.getpid(), "state_dir": str(clinic.root / "state")}))
        told = (await clinic.look(machine.look, await clinic.patient())).about("lock")
        assert told.verdict is Verdict.OK
    assert holder(path) is None
