"""What faults have cost: the table that ``make faults`` prints."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


@dataclass
class Toll:
    """Everything that is counted; ``is_clean`` is the promise."""

    faults_injected: int = 0
    experiments_accepted: int = 0
    #: With the one outcome they should have, their results whole.
    completed: int = 0
    #: Their scripts were begun more than once; never two at a time.
    run_twice: int = 0
    #: Without an outcome, with a wrong one, or with results that are not whole.
    lost: int = 0
    #: Processes, directories, claims, dead letters that should not be there.
    leftovers: int = 0
    #: From the start of a daemon after a kill until it serves, in seconds.
    longest_recovery: float = 0.0
    #: A sentence for each thing that went wrong.
    troubles: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Nothing was lost, nothing is left, and everything ended."""
        is_spoilt = bool(self.lost or self.leftovers or self.troubles)
        return not is_spoilt and self.completed == self.experiments_accepted

    def recovered(self, seconds: float) -> None:
        """Note how long a daemon took."""
        self.longest_recovery = max(self.longest_recovery, seconds)

    def lines(self) -> list[str]:
        """Return the table, in Markdown."""
        shown = [one for one in fields(self) if one.name != "troubles"]
        values = [(one.name.replace("_", " "), getattr(self, one.name)) for one in shown]
        rows = [f"| {name} | {_shown(value)} |" for name, value in values]
        return ["| | |", "|---|---:|", *rows, *(f"- {one}" for one in self.troubles)]


def _shown(value: int | float) -> str:  # noqa: PYI041 - which of the two it is decides
    return f"{value:.2f} s" if isinstance(value, float) else str(value)
