"""Who wants nothing to be claimed at the moment, and whether the daemon is to end for that."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path

from runner import log

_log = log.get_logger(__name__)

#: Whoever asks on the control socket; the others are named by where they said it.
OPERATOR = "the operator"
#: Nobody has said yet whether the machine is about to be taken away; it is known in a moment.
UNKNOWN = "the question whether the machine is taken away"


class Intent(enum.StrEnum):
    """What a place outside wants of the daemon (protocol.md 8.2); the spelling is exact."""

    #: Claim experiments.
    RUNNING = "Running"
    #: Claim nothing; what runs goes on, and the daemon stays for better days.
    SUSPEND = "DrainAndSuspend"
    #: Claim nothing, and end once nothing runs.
    TERMINATE = "DrainAndTerminate"


def intent(text: str) -> Intent | None:
    """Read what somebody wrote; ``None``: it is none of the words."""
    try:
        return Intent(text.strip())
    except ValueError:
        return None


class Suspension:
    """Nothing is claimed while anybody wants that; the operator's wish outlives the daemon."""

    def __init__(self, file: Path | None = None) -> None:
        """``file`` is there while the operator wants it."""
        self._file = file
        self._wishes: dict[str, Intent] = {}
        #: Called after every change.
        self.listeners: list[Callable[[], None]] = []
        if file is not None and file.exists():
            self._wishes[OPERATOR] = Intent.SUSPEND
            _log.warning("claiming is suspended by the operator; studio-runner resume ends that")

    @property
    def by(self) -> tuple[str, ...]:
        """Whoever wants it, for people."""
        return tuple(self._wishes)

    @property
    def said(self) -> str:
        """Why nothing is claimed; empty where nobody objects."""
        return f"suspended by {' and by '.join(self.by)}" if self._wishes else ""

    @property
    def is_undecided(self) -> bool:
        """It is not known yet what is wanted."""
        return UNKNOWN in self._wishes

    @property
    def wants_end(self) -> bool:
        """The daemon is to end as soon as nothing runs."""
        return Intent.TERMINATE in self._wishes.values()

    def wish(self, who: str, what: Intent) -> None:
        """Note what somebody wants from now on. Raises OSError when it cannot be remembered."""
        before = self._wishes.get(who, Intent.RUNNING)
        if what is before:
            return
        if who == OPERATOR and self._file is not None:
            self._remember(self._file, what)
        if what is Intent.RUNNING:
            del self._wishes[who]
        else:
            self._wishes[who] = what
        _log.info("the wish to claim has changed", by=who, wish=what.value, now=self.said or "free")
        for listener in self.listeners:
            listener()

    def _remember(self, file: Path, what: Intent) -> None:
        if what is Intent.RUNNING:
            file.unlink(missing_ok=True)
        else:
            file.touch(mode=0o600)
