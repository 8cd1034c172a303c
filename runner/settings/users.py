"""The users that experiments run as: one of them, a list, or a range of names or numbers."""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Iterator
from dataclasses import dataclass

#: More are a slip of the hand.
MOST = 1000
_NUMBERS = re.compile(r"([0-9]+)-([0-9]+)", re.ASCII)
_NAMES = re.compile(r"([^\[\]]*)\[([0-9]+)-([0-9]+)\]([^\[\]]*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class RunAs:
    """A user that experiments run as."""

    name: str
    uid: int
    gid: int


def read(text: str) -> tuple[RunAs, ...]:
    """Read ``NAME``, ``NAME:GROUP``, ``UID:GID``, ``NAME-[1-8]`` or ``UID-UID:GID``.

    Raises ValueError for what is none of it, and for users that this machine does not have.
    """
    wanted, _, group = text.strip().partition(":")
    return tuple(_one(name, group) for name in _names(wanted)) if wanted else ()


def _names(wanted: str) -> Iterator[str]:
    if numbers := _NUMBERS.fullmatch(wanted):
        yield from map(str, _range(*numbers.groups()))
    elif names := _NAMES.fullmatch(wanted):
        before, first, last, after = names.groups()
        # As people number things: [01-12] has leading zeros.
        yield from (f"{before}{n:0{len(first)}}{after}" for n in _range(first, last))
    else:
        yield wanted


def _range(first: str, last: str) -> range:
    numbers = range(int(first), int(last) + 1)
    if not 0 < len(numbers) <= MOST:
        raise ValueError("no range of users")
    return numbers


def _one(name: str, group: str) -> RunAs:
    try:
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
        uid, gid, known = entry.pw_uid, entry.pw_gid, entry.pw_name
    except KeyError:
        if not (name.isdigit() and group.isdigit()):
            raise ValueError("unknown user") from None
        uid, gid, known = int(name), int(group), name
    if group:
        try:
            gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        except KeyError:
            raise ValueError("unknown group") from None
    return RunAs(known, uid, gid)
