"""Until when a message is surely ours, by our own clock: Pub/Sub rarely tells. Pure but for clocks.

Without exactly-once delivery an ack id that has expired is answered with OK, like any other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: Goes on while the machine sleeps, as the lease at Google does; macOS has no name for it.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Return seconds since this machine was started."""
    return time.clock_gettime(_CLOCK)


def boot() -> str:
    """Name this start of the machine; empty where it has no name."""
    with suppress(OSError):
        return _BOOT_ID.read_text().strip()
    return ""


@dataclass(frozen=True, slots=True)
class Term:
    """A lease on one message: its ack id, and the end that was last confirmed."""

    ack_id: str
    #: On the clock of ``now``.
    until: float

    def is_over(self, clock: Callable[[], float] = now) -> bool:
        """Tell whether somebody else may have the message by now."""
        return clock() >= self.until

    def token(self) -> str:
        """Write what a later daemon on this machine needs."""
        return json.dumps({"ack_id": self.ack_id, "until": round(self.until, 3), "boot": boot()})

    @classmethod
    def read(cls, token: str) -> Term:
        """Read a token; one of an earlier start of the machine has ended. Raises ValueError."""
        try:
            written = json.loads(token)
            is_comparable = bool(written["boot"]) and written["boot"] == boot()
            return cls(str(written["ack_id"]), float(written["until"]) if is_comparable else 0.0)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{token[:80]!r} is no token of Pub/Sub") from error
