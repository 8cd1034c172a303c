"""What a runner tells of itself in the fleet's store: one small JSON object. Pure."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

#: Of the object; a field that is added changes nothing, one that goes or changes does.
VERSION = 1
#: Bytes of an object; nobody reads a larger one.
LONGEST = 256 << 10
#: Experiments, queues and troubles that are named; the rest is counted.
MOST = 100
#: Characters of one text.
_LONGEST_TEXT = 200
_FEW = 10
#: Seconds since the epoch; nobody reckons with later ones, and no clock can.
_LATEST = 1e11
_SUFFIX = ".json"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}\.json")


class Standing(StrEnum):
    """What a runner is about."""

    TAKING = "taking"
    SUSPENDED = "suspended"
    DRAINING = "draining"
    STOPPING = "stopping"
    #: It has left its runs to the daemon that comes after it.
    LEFT = "left its runs"
    ENDED = "ended"


#: There is no runner behind these any more, and none is missed.
OVER = frozenset({Standing.LEFT, Standing.ENDED})


class Underway(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment that a runner has."""

    key: str
    queue: str
    phase: str
    #: Since the epoch, by the runner's clock.
    since: float
    gpus: int = 0


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """How a runner stands. Times are seconds since the epoch, by the runner's clock."""

    host: str
    #: The name of its state directory, which it keeps when it is started anew.
    owner: str
    #: ``Standing``, or a word of a later version.
    state: str
    since: float
    started: float
    written: float
    #: Seconds until the next beat.
    interval: float
    runner: str = ""
    commit: str = ""
    pid: int = 0
    running: tuple[Underway, ...] = ()
    #: Also those that are not named.
    experiments: int = 0
    gpus_used: int = 0
    gpus_total: int = 0
    queues: tuple[str, ...] = ()
    #: Why nothing is claimed, what is out of order.
    trouble: tuple[str, ...] = ()
    version: int = VERSION

    @property
    def name(self) -> str:
        """The object's name in the folder: ``HOST-ID.json``."""
        host = re.sub(r"[^A-Za-z0-9.-]", "-", self.host).strip(".-")[:100]
        return f"{host or 'host'}-{self.owner}{_SUFFIX}"


def is_beat(name: str) -> bool:
    """Tell whether an object of the folder may be a beat."""
    return _NAME.fullmatch(name) is not None


def shortened(text: str) -> str:
    """Keep a text small, and such that it can be written: names of directories may be any bytes."""
    short = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
    return short.encode(errors="replace").decode()


def encode(beat: Beat) -> bytes:
    """Write a beat; of one that would be too long, as by names of odd characters, some is left."""
    body = msgspec.json.encode(beat)
    if len(body) <= LONGEST:
        return body
    fields = ("running", "queues", "trouble")
    few = {name: getattr(beat, name)[:_FEW] for name in fields}
    return msgspec.json.encode(msgspec.structs.replace(beat, **few))


def decode(body: bytes) -> Beat:
    """Read a beat, which anybody may have written. Raises ValueError."""
    try:
        beat = msgspec.json.decode(body, type=Beat)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    except (RecursionError, UnicodeDecodeError) as error:
        raise ValueError("it is no JSON") from error
    times = (beat.since, beat.started, beat.written, *(one.since for one in beat.running))
    if not all(0 <= moment <= _LATEST for moment in times):
        raise ValueError("its times are none")
    return beat
