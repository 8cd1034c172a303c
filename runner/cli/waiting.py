"""Why an experiment still waits, as far as it can be known from where somebody sits."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from runner.cli import show
from runner.cli.daemon import HISTORY
from runner.client.results import given_back
from runner.control.client import NoDaemon, Refusal, ask
from runner.errors import RunnerError
from runner.lifecycle import history
from runner.queues.addresses import LocalAddress, QueueAddress
from runner.redaction import Redactor
from runner.settings import Settings

if TYPE_CHECKING:
    from runner.fleet.reading import Fleet

#: The settings that are read here.
SETTINGS = ("fleet_store",)
#: Seconds: a daemon needs some to find a new queue; who has waited for so long wants to know.
_NEW, _LONG = 5.0, 30.0
#: Seconds between two looks at the fleet.
_FLEET_EVERY = 60.0
#: Seconds that one look may take: meanwhile the end of the experiment is not seen.
_FLEET_PATIENCE = 5.0
_HINT = (
    "nobody has taken it for {:g} s: `studio-runner status` on a runner's machine shows what its "
    "daemon does, `studio-runner doctor` what does not work there"
)
_HERE = "the daemon on this machine"


async def _unknown() -> str:
    return ""


@dataclass
class Reasons:
    """Asks the daemon of this machine and the fleet; tells each reason once."""

    #: The daemon's control socket, in its state directory.
    control: Path
    key: str
    submitted: float | None
    #: Where the message waits; ``None``: it is not known.
    address: QueueAddress | None = None
    #: The directory of local queues.
    root: Path | None = None
    #: Says why no runner of the fleet takes it; empty: nothing is known.
    fleet: Callable[[], Awaitable[str]] = _unknown
    #: What was told already, of any experiment.
    told: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._begun = -math.inf
        self._look_at_fleet = _NEW
        self._has_told = False

    async def tell(self) -> None:
        """Tell a person what is new; meant to be called every few seconds."""
        if self._begun < 0:
            self._begun = anyio.current_time()
        why = await self._known()
        if not why and not self._has_told and self._waited >= _LONG:
            why = _HINT.format(_LONG)
        if why:
            self._has_told = True
        if why and why not in self.told:
            self.told.add(why)
            show.note(f"{self.key}: still waiting: {show.line(Redactor().redact(why))}")

    @property
    def _waited(self) -> float:
        return anyio.current_time() - self._begun

    async def _known(self) -> str:
        lately = history.read(self.control.with_name(HISTORY))
        if why := given_back(lately, self.key, self.submitted):
            return why
        return await self._by_daemon() or await self._by_fleet()

    async def _by_daemon(self) -> str:
        """Say what the daemon of this machine says of a local queue; others may take from it."""
        if not isinstance(self.address, LocalAddress) or self.root is None:
            return ""
        try:
            answers = [item async for item in ask(self.control, "status")]
        except NoDaemon as error:
            return str(error)
        except Refusal:
            return ""
        daemon = answers[0].get("daemon") if answers else None
        if not isinstance(daemon, dict):
            return ""
        return in_status(daemon, self.address.name, self.root, is_new=self._waited < _NEW)

    async def _by_fleet(self) -> str:
        if self._waited < self._look_at_fleet:
            return ""
        self._look_at_fleet = self._waited + _FLEET_EVERY
        return await self.fleet()


def in_status(daemon: Mapping[str, Any], name: str, root: Path, *, is_new: bool) -> str:
    """Return why a daemon takes nothing from a local queue, by its ``status``. Pure.

    Of a queue that ``is_new`` it need not know yet.
    """
    for one in daemon.get("passed_over", ()):
        if (one.get("name"), one.get("broker")) == (name, LocalAddress.broker):
            return f"{_HERE} leaves {name} alone: {one.get('why')}"
    for row in daemon.get("queues", ()):
        if (row.get("name"), row.get("broker")) == (name, LocalAddress.broker) and (
            Path(str(row.get("account"))).resolve() == root.resolve()
        ):
            return f"{_HERE} takes nothing now: {row['why']}" if row.get("why") else ""
    return "" if is_new else f"{_HERE} takes from other directories than {root / name}"


def asking_fleet(
    settings: Settings, environ: Mapping[str, str], cards: int
) -> Callable[[], Awaitable[str]]:
    """Return what looks at the fleet of ``--fleet-store`` for who asks for so many cards."""

    async def look() -> str:
        # Imported late: few have a fleet.
        from runner.app.fleet import options  # noqa: PLC0415
        from runner.fleet.place import place_of  # noqa: PLC0415
        from runner.fleet.reading import Reader  # noqa: PLC0415
        from runner.stores.pool import StorePool  # noqa: PLC0415

        try:
            place = place_of(settings.fleet_store)
            with anyio.fail_after(_FLEET_PATIENCE):
                async with StorePool(options(settings, place)) as pool:
                    return in_fleet(await Reader(place, pool, environ).look(), cards)
        except (TimeoutError, RunnerError):  # whoever wants to know more asks for the fleet
            return ""

    return look if settings.fleet_store else _unknown


def in_fleet(fleet: Fleet, cards: int) -> str:
    """Return why no runner of a fleet can take what asks for so many cards. Pure."""
    from runner.fleet.beat import Standing  # noqa: PLC0415 - few have a fleet

    up = [one.beat for one in fleet.runners if one.beat and not one.is_over and not one.is_late]
    if not up:
        return "no runner of the fleet is up: see studio-runner fleet"
    most = max(beat.gpus_total for beat in up)
    if cards > most:
        return f"it asks for {cards} GPUs, and no runner of the fleet has more than {most}"
    if all(beat.state != Standing.TAKING for beat in up):
        return "no runner of the fleet takes experiments now: see studio-runner fleet"
    return ""
