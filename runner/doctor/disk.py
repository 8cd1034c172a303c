"""The disks that the daemon works on: room, floor and budgets, inodes, and what they cannot do."""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from runner.doctor.check import Finding, failed, ok, warning
from runner.doctor.examination import Tell, tell_all
from runner.doctor.patient import Patient, nearest
from runner.resources import PROBES
from runner.resources.base import HostProbe
from runner.settings import Settings

_GIB, _PIECE = 1 << 30, 1 << 20
#: Environments have some thousand files each.
_INODES, _INODES_SHARE = 20_000, 0.02
_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "lustre", "fuse.sshfs")


async def look(patient: Patient, tell: Tell) -> None:
    """Look at each directory once, then at what they promise together."""
    await tell_all(lambda: _findings(patient.settings), tell)


def _findings(settings: Settings) -> Iterator[Finding]:
    kinds = _kinds()
    for option, path in _places(settings).items():
        yield _of_place(option, path, kinds)
    yield _of_floor(settings)
    yield from _of_budgets(settings)
    yield from _of_distance(settings)


def _places(settings: Settings) -> Mapping[str, Path]:
    found = {"--working-dir": settings.working_dir, "--state-dir": settings.state_dir}
    if settings.cache_dir is not None and settings.cache_size > 0:
        found["--cache-dir"] = settings.cache_dir
    return found


def _of_place(option: str, path: Path, kinds: Mapping[Path, str]) -> Finding:
    about, there = f"{option} {path}", nearest(path)
    try:
        space = os.statvfs(there)
        took = _written(there)
    except OSError as error:
        return failed(
            f"nothing can be written to {there}: {error.strerror}", _remedy(error, path), about
        )
    if space.f_flag & os.ST_NOEXEC:
        return failed(
            f"{there} is mounted noexec: nothing that is installed there can be run",
            f"mount -o remount,exec {shlex.quote(str(_mount_point(there)))}",
            about,
        )
    if space.f_files and space.f_favail < min(_INODES, space.f_files * _INODES_SHARE):
        return warning(
            f"{space.f_favail} inodes are left: an environment takes some thousands",
            "remove small files there, or name another directory",
            about,
        )
    if complaint := _kind(there, kinds):
        return warning(complaint, f"name a directory of a local disk with {option}", about)
    free = space.f_bavail * space.f_frsize / _GIB
    later = "" if there == path else f" (it is not there yet; looked at {there})"
    return ok(
        f"{free:.1f} GiB free, 1 MiB written and flushed in {took * 1e3:.0f} ms{later}", about
    )


def _written(place: Path) -> float:
    """Write to the disk itself, and return how long it took. Raises OSError."""
    begun = time.monotonic()
    with tempfile.TemporaryFile(dir=place, prefix=".doctor-") as file:
        file.write(bytes(_PIECE))
        file.flush()
        os.fsync(file.fileno())
    return time.monotonic() - begun


def _remedy(error: OSError, path: Path) -> str:
    if isinstance(error, PermissionError):
        return f"run the doctor as the daemon's user, or: chown USER {shlex.quote(str(path))}"
    return "free some space there, or name another directory"


def _kind(place: Path, kinds: Mapping[Path, str]) -> str:
    """Say what is to be known of a file system; empty: nothing."""
    kind = kinds.get(_mount_point(place), "")
    if kind in _REMOTE:
        return f"it lies on the network ({kind}): environments and overlays are slow or impossible"
    if kind in {"tmpfs", "ramfs"}:
        return f"it lies in memory ({kind}), which experiments need, and is gone after a restart"
    with tempfile.TemporaryDirectory(dir=place, prefix=".Doctor-") as directory:
        if Path(directory.replace(".Doctor-", ".doctor-")).exists():
            return "it does not tell upper from lower case: artifacts may overwrite each other"
    return ""


def _kinds() -> Mapping[Path, str]:
    """Return the kind of each mounted file system."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, more = line.partition(" - ")
        point = fields.split()[4].encode().decode("unicode_escape")
        found[Path(point)] = more.split()[0]
    return found


def _mount_point(path: Path) -> Path:
    real = Path(os.path.realpath(path))
    return next(one for one in (real, *real.parents) if os.path.ismount(one))


def _of_floor(settings: Settings) -> Finding:
    probe: HostProbe = PROBES.load("host")(
        nearest(settings.working_dir),
        floor=settings.min_free_disk.of,
        state_dir=nearest(settings.state_dir),
    )
    if low := probe.disk_is_low():
        return failed(
            f"{low}; until then nothing is claimed",
            "studio-runner cache prune, or a larger disk",
            "floor",
        )
    return ok("more than --min-free-disk is free", "floor")


def _of_budgets(settings: Settings) -> Iterator[Finding]:
    """Compare what one file system has with all that may be put on it."""
    budgets = {
        "--environment-cache-size": (settings.state_dir, settings.environment_cache_size),
        "--dead-letter-limit": (settings.state_dir, settings.dead_letter_limit),
        "--max-disk": (settings.working_dir, settings.max_disk),
    }
    if settings.cache_dir is not None:
        budgets["--cache-size"] = (settings.cache_dir, settings.cache_size)
    by_disk: dict[Path, dict[str, int]] = {}
    for option, (path, size) in budgets.items():
        by_disk.setdefault(_mount_point(nearest(path)), {})[option] = size
    for disk, sizes in by_disk.items():
        space = os.statvfs(disk)
        total, promised = space.f_blocks * space.f_frsize, sum(sizes.values())
        names = ", ".join(f"{name} {size / _GIB:.1f} GiB" for name, size in sizes.items() if size)
        if promised > total:
            yield warning(
                f"{promised / _GIB:.0f} GiB are promised to {names}; the disk at {disk} has "
                f"{total / _GIB:.0f} GiB in all: caches give way early",
                "lower them, or put them on disks of their own",
                "budgets",
            )
        else:
            yield ok(f"{names or 'nothing'} of {total / _GIB:.0f} GiB at {disk}", "budgets")


def _of_distance(settings: Settings) -> Iterator[Finding]:
    cache = _places(settings).get("--cache-dir")
    if cache is None:
        return
    work, kept = nearest(settings.working_dir), nearest(cache)
    if work.stat().st_dev != kept.stat().st_dev:
        yield warning(
            f"--cache-dir and --working-dir lie on two disks ({kept}, {work}): where no overlay "
            "can be mounted, kept artifacts are copied from one to the other",
            "put both on one disk, if the sandbox has no overlays",
            "cache and work",
        )
