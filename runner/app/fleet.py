"""Has the daemon tell the fleet's store how it stands, where one is named."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anyio.abc import TaskGroup

from runner.app.stores import store_options
from runner.errors import Misconfigured
from runner.lifecycle.chore import Chore
from runner.lifecycle.loop import Loop
from runner.settings import Settings
from runner.stores.base import StoreOptions

if TYPE_CHECKING:  # see begin
    from runner.fleet.place import FleetPlace


def check(settings: Settings) -> None:
    """Raise Misconfigured for an address that is none."""
    if settings.fleet_store:
        from runner.fleet.place import place_of  # noqa: PLC0415 - see begin

        place_of(settings.fleet_store)


def folders(settings: Settings) -> tuple[Path, ...]:
    """Return the directory of this machine that the fleet's objects lie in, if there is one.

    No link in it is followed: who looks at a file system over a network may be kept for ever.
    """
    if not settings.fleet_store:
        return ()
    from runner.fleet.place import FOLDER, place_of  # noqa: PLC0415 - see begin

    try:
        root = place_of(settings.fleet_store).root
    except Misconfigured:
        return ()  # ``check`` says so
    return (Path(os.path.normpath(root), FOLDER),) if root else ()


def options(settings: Settings, place: FleetPlace) -> StoreOptions:
    """Return what opens the store: the operator named it, with what is the operator's own.

    Raises Misconfigured.
    """
    return replace(
        store_options(settings),
        allow_own_credentials=True,
        local_roots=(place.root,) if place.root else (),
    )


def begin(settings: Settings, background: TaskGroup, loop: Loop) -> None:
    """Tell until ``background`` is cancelled, and then once more. Raises Misconfigured."""
    if not settings.fleet_store:
        return
    # Most daemons tell nobody.
    from runner.app.chronicle import Chronicle  # noqa: PLC0415 - as the comment says
    from runner.fleet.place import place_of  # noqa: PLC0415 - likewise
    from runner.fleet.writing import Writer  # noqa: PLC0415 - likewise

    place = place_of(settings.fleet_store)
    interval = settings.fleet_interval
    chronicle = Chronicle(loop, interval.total_seconds())
    writer = Writer(
        place, options(settings, place), chronicle.now, chronicle.farewell, interval=interval
    )
    background.start_soon(Chore("telling the fleet's store", writer.write).keep)
