"""What faults have cost: the table that ``make faults`` prints."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields

_LONGEST = 300


@dataclass
class Toll:
    """Everything that is counted; ``is_clean`` is the promise."""

    faults_injected: int = 0
    experiments_accepted: int = 0
    #: With the one outcome they should have, their results whole.
    completed: int = 0
    #: Their scripts were begun more than once.
    run_twice: int = 0
    #: Of these, twice at the same time: a host was away for longer than a lease, and fenced then.
    run_beside_another: int = 0
    #: Without an outcome, with a wrong one or two, or with results that are not whole.
    lost: int = 0
    #: Processes, directories, claims, dead letters, uploads… that should not be there.
    leftovers: int = 0
    #: From the start of a daemon after a fault until it serves, in seconds.
    longest_recovery: float = 0.0
    #: How often each kind of fault was injected.
    kinds: Counter[str] = field(default_factory=Counter)
    #: A sentence for each thing that went wrong.
    troubles: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Nothing was lost, nothing is left, and everything ended."""
        is_spoilt = bool(self.lost or self.leftovers or self.troubles)
        return not is_spoilt and self.completed == self.experiments_accepted

    def injected(self, kind: str) -> None:
        """Count a fault."""
        self.faults_injected += 1
        self.kinds[kind] += 1

    def recovered(self, seconds: float) -> None:
        """Note how long a daemon took."""
        self.longest_recovery = max(self.longest_recovery, seconds)

    def trouble(self, where: str, what: object) -> None:
        """Note what went wrong, in one line."""
        lines = str(what).splitlines() or [type(what).__name__]
        self.troubles.append(f"{where}: {lines[0][:_LONGEST]}")

    def ended(self, key: str, fault: str, times: list[str]) -> None:
        """Count an experiment that is over; ``fault`` is empty when it is whole."""
        self.run_twice += times.count("ran") > 1
        self.run_beside_another += "beside another" in times
        if fault:
            self.lost += 1
            self.trouble(key, fault)
        else:
            self.completed += 1

    def left(self, names: list[str]) -> None:
        """Count what is left."""
        self.leftovers += len(names)
        self.troubles += [f"left: {name}" for name in names]

    def add(self, other: Toll) -> None:
        """Take in what another part of the work has cost."""
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            is_longest = one.name == "longest_recovery"
            setattr(self, one.name, max(mine, theirs) if is_longest else mine + theirs)

    def lines(self) -> list[str]:
        """Return the table, in Markdown."""
        shown = [one for one in fields(self) if one.name not in {"troubles", "kinds"}]
        values = [(one.name.replace("_", " "), getattr(self, one.name)) for one in shown]
        rows = [f"| {name} | {_shown(value)} |" for name, value in values]
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        said = ["", f"Faults: {kinds}."] if kinds else []
        return ["| | |", "|---|---:|", *rows, *said, *(f"- {one}" for one in self.troubles)]


def _shown(value: int | float) -> str:  # noqa: PYI041 - which of the two it is decides
    return f"{value:.2f} s" if isinstance(value, float) else str(value)
