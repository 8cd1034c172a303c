"""The settings as a daemon takes them: whether it would start with them, and what they expose."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from runner.app import fleet
from runner.app.hidden import check
from runner.app.reporting import reporters_for
from runner.app.stores import store_options
from runner.doctor import hooks
from runner.doctor.check import Finding, failed, ok, warning
from runner.doctor.examination import Tell, tell_all
from runner.doctor.patient import Patient
from runner.errors import Misconfigured


async def look(patient: Patient, tell: Tell) -> None:
    """Tell what keeps the daemon from starting, and what it would complain of."""
    await tell_all(lambda: _findings(patient), tell)


def _findings(patient: Patient) -> Iterator[Finding]:
    troubles = [*patient.troubles, *_refused(patient)]
    yield from (failed(trouble) for trouble in troubles)
    yield from (warning(note) for note in patient.settings.notes)
    yield from hooks.findings(patient.settings, patient.environ)
    if not troubles:
        given = sum(patient.settings.given(name) for name in patient.settings.origins)
        yield ok(
            f"a daemon would start with these settings ({given} given, the rest defaults; "
            "studio-runner config shows them)"
        )


def _refused(patient: Patient) -> Iterator[str]:
    """Yield what the daemon refuses to start with."""
    # With everything hidden: what has to be apart has to be so even then.
    places = patient.places
    nowhere = patient.settings.state_dir / "doctor-remembers-nothing"
    starts: list[Callable[[], object]] = [
        lambda: check(patient.settings, places, hides=True, environ=patient.environ),
        lambda: store_options(patient.settings),
        lambda: fleet.check(patient.settings),
        lambda: reporters_for(patient.settings, patient.redactor, nowhere),
    ]
    for start in starts:
        try:
            start()
        except Misconfigured as error:
            yield str(error)
