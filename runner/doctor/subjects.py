"""The list of all that is looked at, and which of it somebody asked for."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from runner.doctor import (
    bounds,
    clock,
    configuration,
    containers,
    credentials,
    disk,
    environments,
    fleet,
    gpu,
    identity,
    kernel,
    keys,
    machine,
    news,
    queues,
    sandbox,
    service,
    stores,
    tools,
)
from runner.doctor.check import Area
from runner.doctor.examination import Subject, Tell
from runner.doctor.patient import Patient
from runner.errors import Misconfigured

_Look = Callable[[Patient, Tell], Awaitable[None]]

#: Name, class, what looks at it, and the seconds that it may take.
_ALL: Sequence[tuple[str, Area, _Look, float]] = (
    ("settings", Area.SETTINGS, configuration.look, 20),
    ("credentials", Area.CREDENTIALS, credentials.look, 20),
    ("keys", Area.CREDENTIALS, keys.look, 20),
    ("queues", Area.QUEUES, queues.look, 120),
    ("stores", Area.STORES, stores.look, 60),
    ("fleet", Area.STORES, fleet.look, 60),
    ("environments", Area.ENVIRONMENT, environments.look, 120),
    ("tools", Area.ENVIRONMENT, tools.look, 120),
    ("sandbox", Area.SANDBOX, sandbox.look, 60),
    ("bounds", Area.SANDBOX, bounds.look, 30),
    ("containers", Area.SANDBOX, containers.look, 60),
    ("identity", Area.SANDBOX, identity.look, 60),
    ("gpu", Area.GPU, gpu.look, 60),
    ("machine", Area.HOST, machine.look, 20),
    ("disk", Area.HOST, disk.look, 60),
    ("kernel", Area.HOST, kernel.look, 30),
    ("clock", Area.HOST, clock.look, 60),
    ("service", Area.HOST, service.look, 30),
    ("news", Area.NEWS, news.look, 60),
)
#: What the command line takes, in order.
NAMES = tuple(dict.fromkeys([*(name for name, *_ in _ALL), *(str(area) for area in Area)]))


def subjects(patient: Patient, wanted: Sequence[str] = ()) -> list[Subject]:
    """Return what is to be looked at: all, or the subjects and classes that are named.

    Raises Misconfigured for a name that is neither.
    """
    for name in wanted:
        if name not in NAMES:
            close = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(NAMES)}"
            raise Misconfigured(f"nothing to look at is called {name!r}; {hint}")
    return [
        Subject(name, area, partial(look, patient), patience)
        for name, area, look, patience in _ALL
        if not wanted or name in wanted or area in wanted
    ]
