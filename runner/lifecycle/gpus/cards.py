"""What is known of the cards of this machine over time, and what befell each run on its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from runner.lifecycle.gpus import xids as gpu_xids
from runner.lifecycle.gpus.health import RETURNING, UNKNOWN, Past, Withheld, judge, silence
from runner.lifecycle.gpus.xids import Blame
from runner.model import Bytes, Gpu
from runner.resources.base import GpuInventory, GpuReading

_NONE = Bytes(0)
_SILENT = GpuReading()


@dataclass(frozen=True, slots=True)
class Signs:
    """What the cards of a run said while it ran, in sentences."""

    #: Of broken cards.
    faults: tuple[str, ...] = ()
    #: Of what was the experiment's own doing, or nobody's.
    notes: tuple[str, ...] = ()
    #: A card of it does not answer at the end.
    is_lost: bool = False


@dataclass(eq=False)
class Use:
    """One run's use of its cards."""

    uuids: tuple[str, ...]
    #: Uncorrectable errors that were counted before.
    errors: Mapping[str, int]
    #: Card and Xid, each pair once, in the order in which they were seen.
    xids: dict[tuple[str, int], None] = field(default_factory=dict)


class Cards:
    """The cards of the ledger. Measures nothing: ``GpuWatch`` looks, and tells what it saw."""

    def __init__(
        self,
        gpus: tuple[Gpu, ...] = (),
        *,
        noise: Bytes = _NONE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``noise``: memory in use up to which a card counts as free."""
        self.gpus = gpus
        #: As last seen.
        self.inventory = GpuInventory(gpus)
        #: By UUID.
        self.withheld: Mapping[str, Withheld] = {}
        #: Set when a look is wanted before its time.
        self.asked = anyio.Event()
        self._noise = noise
        self._clock = clock
        self._pasts = {gpu.uuid: Past() for gpu in gpus}
        self._uses: list[Use] = []
        #: Those on which something ran since they were given out last.
        self._begun: set[str] = set()
        self._begun_looks = self._ended_looks = 0
        self._looked = anyio.Event()

    # ------------------------------------------------------------------ runs

    def begin(self, uuids: tuple[str, ...]) -> Use:
        """Note what befalls these cards from now on: something is about to run on them."""
        errors = {uuid: self._reading(uuid).ecc_errors for uuid in uuids}
        use = Use(tuple(uuid for uuid in uuids if uuid in self._pasts), errors)
        self._begun.update(use.uuids)
        self._uses.append(use)
        return use

    def end(self, use: Use) -> None:
        """Note nothing more; no error when that was said before."""
        if use in self._uses:
            self._uses.remove(use)

    def signs(self, use: Use) -> Signs:
        """Tell what was seen so far."""
        faults, notes = [], []
        for uuid, xid in use.xids:
            said = gpu_xids.described(xid)
            if gpu_xids.blame(xid) is Blame.CARD:
                faults.append(f"the driver reports {said}, for {uuid}")
            else:
                notes.append(f"the driver reports {said}, for {uuid} while it ran")
        lost = [(uuid, why) for uuid in use.uuids if (why := self._loss(uuid))]
        faults += [f"{uuid} does not answer: {why}" for uuid, why in lost]
        for uuid in use.uuids:
            if (count := self._reading(uuid).ecc_errors) > use.errors[uuid]:
                faults.append(f"memory errors of {uuid} could not be corrected: {count}")
        return Signs(tuple(faults), tuple(notes), is_lost=bool(lost))

    def _reading(self, uuid: str) -> GpuReading:
        return self.inventory.readings.get(uuid, _SILENT)

    def _loss(self, uuid: str) -> str:
        reading = self.inventory.readings.get(uuid)
        if reading is not None:
            return reading.lost
        return (self.inventory.why_none or UNKNOWN.why) if self._ended_looks else ""

    # ------------------------------------------------------------------ looks

    @contextmanager
    def look(self) -> Iterator[float]:
        """Begin a look and return when it began: who waits for one needs one that began later."""
        self._begun_looks += 1
        begun, self.asked = self._begun_looks, anyio.Event()
        try:
            yield self._clock()
        finally:
            self._ended_looks = begun
            self._looked.set()
            self._looked = anyio.Event()

    async def next_look(self) -> None:
        """Ask for a look now, and wait for its end."""
        wanted = self._begun_looks + 1
        self.asked.set()
        while self.gpus and self._ended_looks < wanted:
            await self._looked.wait()

    def see(self, inventory: GpuInventory, held: frozenset[str], began: float) -> None:
        """Take in what the cards said in a look; ``held`` are those that somebody has."""
        self.inventory = inventory
        for use in self._uses:
            use.xids |= {(u, xid): None for u in use.uuids for xid in self._reading(u).xids}
        found = {gpu.uuid: self._judge(gpu, began, held=gpu.uuid in held) for gpu in self.gpus}
        silent = silence(inventory)
        self.withheld = {uuid: why for uuid, one in found.items() if (why := silent or one)}

    def come_back(self, uuids: tuple[str, ...], held: frozenset[str]) -> None:
        """A share with these cards was given back: what ran on them may take a moment to go."""
        gone = {uuid for uuid in uuids if uuid in self._begun and uuid not in held}
        self._begun -= gone
        for uuid in gone:
            self._pasts[uuid] = self._pasts[uuid].left(self._clock())
            self.withheld = {uuid: RETURNING, **self.withheld}
        if gone:
            self.asked.set()

    def _judge(self, gpu: Gpu, began: float, *, held: bool) -> Withheld | None:
        reading = self.inventory.readings.get(gpu.uuid)
        if reading is None:
            return UNKNOWN
        past = self._pasts[gpu.uuid]
        past, why = judge(gpu, reading, past, held=held, noise=self._noise, now=began)
        self._pasts[gpu.uuid] = past
        return why
