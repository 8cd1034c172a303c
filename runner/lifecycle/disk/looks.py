"""When a look at a workspace is worth its cost, what is too much, and who is ended first. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from runner.archives.footprint import INODE
from runner.lifecycle.disk.usage import Usage
from runner.model import Bytes
from runner.request.units import format_size

K = TypeVar("K")

#: Of a core, what looks may take on average; and how many seconds may be saved up.
SHARE, SAVED = 0.008, 3.0
#: Seconds after which who could be over its bound is looked at in any case, or a little later.
PATIENCE = 30.0
#: Seconds after which everybody is looked at: what one gives back, another may have taken.
LONG = 600.0
#: Processor time that a first look is expected to take.
_FIRST = 0.05
_NONE = Bytes(0)


@dataclass(frozen=True, slots=True)
class Free:
    """What is left of a file system."""

    bytes: int
    inodes: int

    def eaten_since(self, before: Free) -> int:
        """Return how much more is used now than it was ``before``; nobody took less than that.

        What was given back in between hides as much.
        """
        return max(0, before.bytes - self.bytes) + max(0, before.inodes - self.inodes) * INODE


@dataclass(slots=True)
class Allowance:
    """The processor time that looks may take."""

    seconds: float = SAVED

    def pass_by(self, seconds: float) -> None:
        """So much time has passed."""
        self.seconds = min(SAVED, self.seconds + SHARE * seconds)

    def spend(self, seconds: float) -> None:
        """A look has taken this."""
        self.seconds -= seconds


@dataclass(slots=True)
class Account:
    """What is known of one workspace."""

    #: What it may hold, and what of that it holds without a look: attached artifacts.
    bound: Bytes
    attached: Bytes = _NONE
    #: Since when it exists.
    since: float = 0.0
    usage: Usage | None = None
    #: What was eaten of its disk, by anybody, since the last look began.
    eaten: int = 0
    looked_at: float = field(default=float("-inf"))

    @property
    def held(self) -> int:
        """Bytes that it held when it was looked at."""
        return self.attached + (self.usage.bytes if self.usage else 0)

    @property
    def is_over(self) -> bool:
        """It holds more than its bound."""
        return self.usage is not None and self.attached + self.usage.charge > self._allowed

    @property
    def margin(self) -> int:
        """What it can have taken since without being over."""
        charge = self.usage.charge if self.usage else 0
        return max(0, self._allowed - self.attached - charge)

    @property
    def _allowed(self) -> int:
        """Archives are counted by their contents, so what small files take besides is no fault.

        Up to twice the bound, not without end.
        """
        entries = self.usage.entries if self.usage else 0
        return self.bound + min(self.bound, 2 * INODE * entries)

    def seen(self, usage: Usage, began: float) -> None:
        """Note what a look that ``began`` then has found."""
        self.usage, self.looked_at = usage, began


def is_due(account: Account, now: float, allowance: Allowance) -> bool:
    """Tell whether to look at a workspace now."""
    if account.usage is None:
        return allowance.seconds >= _FIRST or now - account.since >= PATIENCE
    if account.eaten > account.margin:
        return allowance.seconds > 0 or now - account.looked_at >= patience(account.usage)
    return now - account.looked_at >= LONG and allowance.seconds >= account.usage.seconds


def patience(usage: Usage) -> float:
    """Return the seconds after which a look is made though none is left for it.

    For a workspace whose looks take long it is longer: together they take their share all the same.
    """
    return max(PATIENCE, usage.seconds / SHARE)


def most_urgent(due: Iterable[tuple[K, Account]]) -> K | None:
    """Return who may be over its bound by most; whom nobody has looked at goes first."""
    ranked = [
        ((account.usage is None, account.eaten - account.margin), key) for key, account in due
    ]
    return max(ranked, key=lambda one: one[0])[1] if ranked else None


def to_end(excess: Iterable[tuple[K, int]], missing: int) -> K | None:
    """Return who gives the disk back to those who asked for theirs, if anybody can.

    ``excess`` is what each holds beyond what it asked for, ``missing`` what lacks to the floor of
    free space. Nobody is ended where that would not bring it back.
    """
    above = [(size, key) for key, size in excess if size > 0]
    if missing <= 0 or sum(size for size, _ in above) < missing:
        return None
    return max(above, key=lambda one: one[0])[1]


def sentence(
    account: Account, asked: Bytes, what: str = "its workspace", may: str = "asked for"
) -> str:
    """Say what is too much of it, in one sentence."""
    holds, usage = f"{what} holds {three_digits(account.held)}", account.usage or Usage()
    if usage.entries * INODE > usage.bytes // 4:
        holds += f" in {usage.entries} files"
    if asked:
        return f"{holds}, it {may} {three_digits(asked)}"
    return f"{holds}, and who asks for no disk may use {three_digits(account.bound)}"


def three_digits(size: int) -> str:
    """Write ``12.3 GB`` where ``format_size`` writes ``12 GB``."""
    exact, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if exact < 999.5:  # noqa: PLR2004 - would be rounded to four digits
            break
        exact, unit = exact / 1000, larger
    digits = next(n for n, least in ((0, 99.95), (1, 9.995), (2, 0)) if exact >= least)
    number = f"{exact:.{digits}f}"
    return f"{number.rstrip('0').rstrip('.') if digits else number} {unit}"


def named(usage: Usage) -> str:
    """List the largest, for people: what the names hold draws no lines of its own."""
    return ", ".join(f"{_printable(name)} ({format_size(size)})" for name, size in usage.largest)


def _printable(name: str, longest: int = 80) -> str:
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
    return text if len(text) <= longest else f"{text[:longest]}…"
