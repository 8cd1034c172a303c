"""What the runner itself says of an experiment in its metadata: the ``studioml`` part (7.6, 7.10).

The original prints these into the output, where its scraper finds them; here the output is the
experiment's alone. Names and forms are the original's, but for ``pip_freeze``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from runner.model import Artifact, Experiment
from runner.redaction import Redactor


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds since the epoch; 0 is not yet."""

    claimed: float
    started: float = 0.0
    stopped: float = 0.0


@dataclass(frozen=True)
class Facts:
    """Asked again each time that the document is written."""

    experiment: Experiment
    artifacts: Mapping[str, Artifact]
    host: str
    redactor: Redactor
    times: Callable[[], Times]
    #: What is installed for it, one line each, as ``pip freeze`` writes them.
    packages: Callable[[], Sequence[str]] = field(default=tuple)

    def now(self) -> dict[str, object]:
        """Return them, without what is secret."""
        times, clean = self.times(), self.redactor.redact
        moments = {
            "load_time": times.claimed,
            "start_time": times.started,
            "stop_time": times.stopped,
        }
        places = {label: clean(str(one.location)) for label, one in self.artifacts.items()}
        return {
            "host": self.host,
            "experiment": {"key": self.experiment.key, "project": self.experiment.project},
            "artifacts": places,
            "pip_freeze": [clean(line) for line in self.packages()],
            **{name: _moment(at) for name, at in moments.items() if at},
        }


def _moment(at: float) -> str:
    """Write a moment as ``date +%FT%T.%N%:z`` does, to the microsecond."""
    return datetime.fromtimestamp(at).astimezone().isoformat(timespec="microseconds")
