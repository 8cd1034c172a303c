"""Where below our own control groups those of runs can be made, in trees of version 1 and 2."""

from __future__ import annotations

import os

#: A group of version 2 that hands out controllers must itself hold no process: who was in there
#: goes into this one.
LEAF = "studio-runner-itself"
#: What systemd writes on groups that it leaves to others, of the user's and of its own kind.
_DELEGATED = ("user.delegate", "trusted.delegate")


class Homes:
    """Directories in which groups of runs are made; empty where there is none."""

    def __init__(self) -> None:
        #: Of version 1, by controller.
        self.v1: dict[str, str] = {}
        self.v2: str = ""
        #: What version 2 has to give there.
        self.controllers: frozenset[str] = frozenset()
        #: Processes that are in there may be moved: nobody else counts on where they are.
        self.is_ours: bool = False


def homes(root: str = "") -> Homes:
    """Find them for this process; ``root`` holds ``proc`` and what is mounted."""
    found, mounts = Homes(), _mounts(root)
    for line in lines(f"{root}/proc/self/cgroup"):
        _, names, path = line.split(":", 2)
        wanted = set(filter(None, names.split(",")))
        for is_v2, controllers, top, point in mounts:
            if is_v2 == bool(wanted) or not wanted <= controllers:
                continue
            directory = _directory(point, top, path)
            if not directory:
                continue
            if is_v2:
                _take_v2(found, directory, point, root)
            else:
                found.v1.update(dict.fromkeys(wanted, directory))
            break
    return found


def _take_v2(found: Homes, directory: str, point: str, root: str) -> None:
    above = os.path.dirname(directory)
    is_leaf = os.path.basename(directory) == LEAF
    # A service with DelegateSubgroup= finds itself one below what is its own.
    if directory != point and (is_leaf or (_is_delegated(above) and not _is_delegated(directory))):
        directory = above
    found.v2 = directory
    found.controllers = frozenset(words(f"{directory}/cgroup.controllers"))
    # The root of the whole machine has no type. Where systemd runs, it is systemd's.
    is_machine = not os.path.exists(f"{directory}/cgroup.type")
    is_container = directory == point and not is_machine
    found.is_ours = (
        _is_delegated(directory)
        or is_leaf
        or is_container
        or (is_machine and not os.path.exists(f"{root}/run/systemd/system"))
    )


def _mounts(root: str) -> list[tuple[bool, frozenset[str], str, str]]:
    """Return version, controllers, the group seen there and the place, of each mounted tree."""
    found = []
    for line in lines(f"{root}/proc/self/mountinfo"):
        place, _, kind = line.partition(" - ")
        system, _, options = (*kind.split(), "", "", "")[:3]
        if system in {"cgroup", "cgroup2"}:
            top, point = place.split()[3:5]
            controllers = frozenset(options.split(","))
            found.append((system == "cgroup2", controllers, _plain(top), root + _plain(point)))
    return found


def _plain(field: str) -> str:
    return field.replace("\\040", " ").replace("\\134", "\\")


def _directory(point: str, top: str, path: str) -> str:
    """Return where the group ``path`` is seen; empty where it is not.

    A container may see its own group at the mount point, under its name outside.
    """
    inside = path
    if top != "/" and (path == top or path.startswith(top + "/")):
        inside = path[len(top) :]
    directory = (point + inside).rstrip("/")
    return directory if "/.." not in inside and os.path.isdir(directory) else ""


def _is_delegated(directory: str) -> bool:
    for name in _DELEGATED:
        try:
            if os.getxattr(directory, name) == b"1":
                return True
        except OSError:
            pass  # not set, not for us to see, or no such file system
    return False


def lines(path: str) -> list[str]:
    """Return the lines of a file; none of one that is not there or not ours to read."""
    try:
        with open(path, "rb", 0) as file:
            return os.fsdecode(file.read()).splitlines()
    except OSError:
        return []


def words(path: str) -> list[str]:
    """Return the words of a file, as ``lines`` does."""
    return " ".join(lines(path)).split()
