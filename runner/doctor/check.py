"""What an examination finds: one value for each thing looked at, and the exit status. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

#: Of the JSON document; grows by one when something in it means something else than before.
VERSION = 1


class Area(enum.StrEnum):
    """The class of a check, in the order in which the first that failed decides the exit status.

    Values are stable: scripts name them.
    """

    SETTINGS = "settings"
    CREDENTIALS = "credentials"
    QUEUES = "queues"
    STORES = "stores"
    ENVIRONMENT = "environment"
    SANDBOX = "sandbox"
    GPU = "gpu"
    HOST = "host"
    NEWS = "news"


#: 1 stays for a doctor that failed, 2 is what every command says to a configuration that it
#: cannot understand.
STATUS = {
    Area.SETTINGS: 2,
    Area.CREDENTIALS: 10,
    Area.QUEUES: 11,
    Area.STORES: 12,
    Area.ENVIRONMENT: 13,
    Area.SANDBOX: 14,
    Area.GPU: 15,
    Area.HOST: 16,
    Area.NEWS: 17,
}


class Verdict(enum.StrEnum):
    """How something was found. Values are stable."""

    OK = "ok"
    #: The daemon runs as it is; somebody should know of it.
    WARNING = "warning"
    #: Experiments will fail of it, or none will come.
    FAILED = "failed"
    #: It was not looked at, and the sentence says why.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look at one thing says."""

    verdict: Verdict
    #: One sentence for a person.
    sentence: str
    #: The command that mends it, or what somebody has to do; empty where nothing has to be.
    remedy: str = ""
    #: Which of several: a queue, a directory; empty where there is one.
    about: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A finding and what it belongs to, safe to show."""

    #: Name of the subject, as the command line takes it.
    name: str
    area: Area
    verdict: Verdict
    sentence: str
    remedy: str = ""
    about: str = ""
    #: How long looking took.
    seconds: float = 0.0


def ok(sentence: str, about: str = "") -> Finding:
    """Say that something is as it should be."""
    return Finding(Verdict.OK, sentence, about=about)


def warning(sentence: str, remedy: str = "", about: str = "") -> Finding:
    """Say what works, but not well."""
    return Finding(Verdict.WARNING, sentence, remedy, about)


def failed(sentence: str, remedy: str = "", about: str = "") -> Finding:
    """Say what does not work."""
    return Finding(Verdict.FAILED, sentence, remedy, about)


def skipped(sentence: str, remedy: str = "", about: str = "") -> Finding:
    """Say why something was not looked at."""
    return Finding(Verdict.SKIPPED, sentence, remedy, about)


def exit_status(checks: Iterable[Check]) -> int:
    """Return the status of the first area, in their order, that something failed in; else 0."""
    areas = {check.area for check in checks if check.verdict is Verdict.FAILED}
    return next((STATUS[area] for area in Area if area in areas), 0)


def in_order(checks: Iterable[Check]) -> list[Check]:
    """Sort by area; within one as they were found."""
    places = {area: place for place, area in enumerate(Area)}
    return sorted(checks, key=lambda check: places[check.area])


def document(checks: Iterable[Check], *, version: str) -> dict[str, Any]:
    """Return the JSON document (docs/doctor.md); ``version`` is the runner's."""
    found = in_order(checks)
    verdicts = [check.verdict for check in found]
    return {
        "version": VERSION,
        "runner": version,
        "status": exit_status(found),
        "counts": {str(verdict): verdicts.count(verdict) for verdict in Verdict},
        "checks": [{**asdict(check), "seconds": round(check.seconds, 3)} for check in found],
    }
