"""The books: who has which share of the machine. Counts, never measures; belongs to one loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import anyio

from runner.model import Allocation, Bytes, Capacity, Gpu, Needs

ChooseGpus = Callable[[Needs, tuple[Gpu, ...]], tuple[Gpu, ...] | None]
"""Picks whole cards for the needs out of the free ones; ``None`` when there are not enough."""


class Ledger:
    """Gives shares out of a total and takes them back.

    An allocation is known by the object itself: two runs may well have equal shares. What adopted
    runs hold may exceed the total after the operator lowered a bound; then nothing is free.
    """

    def __init__(self, total: Capacity, choose_gpus: ChooseGpus) -> None:
        self._total = total
        self._choose_gpus = choose_gpus
        #: By ``id``; the value keeps the object, and so its ``id``, alive.
        self._held: dict[int, Allocation] = {}
        self._released: anyio.Event | None = None
        #: By UUID, with the reason.
        self._withheld: dict[str, str] = {}

    @property
    def total(self) -> Capacity:
        """What may be given in all."""
        return self._total

    @property
    def free(self) -> Capacity:
        """What may be given now."""
        held = self._held.values()
        taken = {uuid for allocation in held for uuid in allocation.gpus} | self._withheld.keys()
        return Capacity(
            cores=max(0, self._total.cores - sum(one.cores for one in held)),
            memory=Bytes(max(0, self._total.memory - sum(one.memory for one in held))),
            disk=Bytes(max(0, self._total.disk - sum(one.disk for one in held))),
            gpus=tuple(gpu for gpu in self._total.gpus if gpu.uuid not in taken),
        )

    @property
    def held(self) -> int:
        """How many shares are given out."""
        return len(self._held)

    def fits_ever(self, needs: Needs) -> bool:
        """Tell whether the empty machine could give this much."""
        return self._share(needs, self._total) is not None

    def reserve(self, needs: Needs) -> Allocation | None:
        """Give a share, or ``None`` when it is not free now."""
        allocation = self._share(needs, self.free)
        if allocation is not None:
            self._held[id(allocation)] = allocation
        return allocation

    def restore(self, allocation: Allocation) -> None:
        """Enter what an adopted run has already. Raises ValueError when it is entered."""
        if id(allocation) in self._held:
            raise ValueError(f"{allocation} is held already")
        self._held[id(allocation)] = allocation

    def release(self, allocation: Allocation) -> None:
        """Take a share back and wake who waits. Raises ValueError when it is not held."""
        if self._held.pop(id(allocation), None) is None:
            raise ValueError(f"{allocation} is not held: it was released before, or is a copy")
        self._wake()

    def equip(self, allocation: Allocation, needs: Needs) -> Allocation | None:
        """Add the cards of ``needs`` to a share without any; ``None`` when they are not free.

        The share that is returned takes the place of the one that is given. Raises ValueError when
        that one is not held.
        """
        if id(allocation) not in self._held:
            raise ValueError(f"{allocation} is not held: it was released before, or is a copy")
        gpus = self._gpus(needs, self.free.gpus)
        if gpus is None:
            return None
        equipped = replace(allocation, gpus=tuple(gpu.uuid for gpu in gpus))
        del self._held[id(allocation)]
        self._held[id(equipped)] = equipped
        return equipped

    @property
    def withheld(self) -> Mapping[str, str]:
        """Cards that are given to nobody now, by UUID, with the reason in a sentence."""
        return self._withheld

    def withhold(self, cards: Mapping[str, str]) -> None:
        """Give out none of these cards, and all others again; who holds one keeps it."""
        is_more_free = not self._withheld.keys() <= cards.keys()
        self._withheld = dict(cards)
        if is_more_free:
            self._wake()

    async def wait_for_release(self) -> None:
        """Return when the next share comes back."""
        if self._released is None:
            self._released = anyio.Event()
        await self._released.wait()

    def _wake(self) -> None:
        if self._released is not None:
            self._released.set()
            self._released = None

    def _share(self, needs: Needs, free: Capacity) -> Allocation | None:
        enough = (
            needs.cores <= free.cores
            and needs.memory <= free.memory
            and needs.disk <= free.disk
            and min(needs.cores, needs.memory, needs.disk) >= 0
        )
        gpus = self._gpus(needs, free.gpus) if enough else None
        if gpus is None:
            return None
        return Allocation(needs.cores, needs.memory, needs.disk, tuple(gpu.uuid for gpu in gpus))

    def _gpus(self, needs: Needs, free: tuple[Gpu, ...]) -> tuple[Gpu, ...] | None:
        return self._choose_gpus(needs, free) if needs.gpu_count else ()
