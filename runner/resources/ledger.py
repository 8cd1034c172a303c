"""The books: who has which share of the machine. Counts, never measures; belongs to one loop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

import anyio

from runner.model import Allocation, Bytes, Capacity, Gpu, Needs
from runner.resources.base import GpuReserve
from runner.resources.cards import free_cards

ChooseGpus = Callable[[Needs, tuple[Gpu, ...]], tuple[Gpu, ...] | None]
"""Picks cards for the needs out of the free ones; ``None`` when there are not enough.

What somebody holds a part of is among them, with what is left of it and the group that has it.
"""


class Ledger:
    """Gives shares out of a total and takes them back.

    An allocation is known by the object itself: two runs may well have equal shares. What adopted
    runs hold may exceed the total after the operator lowered a bound; then nothing is free.
    """

    def __init__(
        self,
        total: Capacity,
        choose_gpus: ChooseGpus,
        *,
        reserve: GpuReserve = GpuReserve(),  # noqa: B008 - frozen
    ) -> None:
        self._total = total
        self._choose_gpus = choose_gpus
        self._reserve = reserve
        #: By ``id``; the value keeps the object, and so its ``id``, alive.
        self._held: dict[int, Allocation] = {}
        self._released: anyio.Event | None = None
        #: By UUID, with the reason.
        self._withheld: dict[str, str] = {}
        #: Called with those cards of a share that has come back of which nobody holds a part any
        #: more, before anybody can have them.
        self.listeners: list[Callable[[tuple[str, ...]], None]] = []

    @property
    def total(self) -> Capacity:
        """What may be given in all."""
        return self._total

    @property
    def gpu_reserve(self) -> GpuReserve:
        """What experiments without a card leave free of ``free``."""
        return self._reserve

    @property
    def free(self) -> Capacity:
        """What may be given now; of a card that is shared, what is left of it."""
        held = self._held.values()
        return Capacity(
            cores=max(0, self._total.cores - sum(one.cores for one in held)),
            memory=Bytes(max(0, self._total.memory - sum(one.memory for one in held))),
            disk=Bytes(max(0, self._total.disk - sum(one.disk for one in held))),
            gpus=free_cards(self._total.gpus, held, self._withheld),
        )

    @property
    def held(self) -> int:
        """How many shares are given out."""
        return len(self._held)

    @property
    def held_gpus(self) -> frozenset[str]:
        """UUIDs of the cards of which somebody holds a part."""
        return frozenset(uuid for allocation in self._held.values() for uuid in allocation.gpus)

    def gpus_beside(self, held: Iterable[Allocation]) -> tuple[Gpu, ...]:
        """Return what of all cards, withheld ones too, these shares leave if nobody has another."""
        return free_cards(self._total.gpus, held)

    def fits_ever(self, needs: Needs) -> bool:
        """Tell whether the empty machine could give this much."""
        return self._share(needs, self._total) is not None

    def reserve(self, needs: Needs, *, may_use_reserve: bool = False) -> Allocation | None:
        """Give a share, or ``None`` when it is not free now.

        ``may_use_reserve``: the needs name no card, and yet it may come to have one.
        """
        allocation = self._share(needs, self.free, may_use_reserve=may_use_reserve)
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
        self._take_out(allocation)
        self._came_back(allocation.gpus)

    def equip(
        self, allocation: Allocation, needs: Needs, *, among: Collection[str] | None = None
    ) -> Allocation | None:
        """Add the cards of ``needs`` to a share without any; ``None`` when they are not free.

        ``among``: only of these UUIDs, others are kept for who waits longer. The share that is
        returned takes the place of the one that is given. Raises ValueError when that one is not
        held.
        """
        self._check(allocation)
        free = self.free.gpus
        if among is not None:
            free = tuple(gpu for gpu in free if gpu.uuid in among)
        gpus = self._gpus(needs, free)
        if gpus is None:
            return None
        bare = allocation
        given = replace(
            Allocation.of(needs, gpus), cores=bare.cores, memory=bare.memory, disk=bare.disk
        )
        return self._exchange(bare, given)

    def unequip(self, allocation: Allocation) -> Allocation:
        """Take the cards of a share back, and leave the rest: a run has ended, not its upload.

        The share that is returned takes the place of the one that is given. Raises ValueError when
        that one is not held.
        """
        self._check(allocation)
        if not allocation.gpus:
            return allocation
        left = self._exchange(
            allocation, Allocation(allocation.cores, allocation.memory, allocation.disk)
        )
        self._came_back(allocation.gpus)
        return left

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

    # ------------------------------------------------------------------ how

    def _check(self, allocation: Allocation) -> None:
        if id(allocation) not in self._held:
            raise ValueError(f"{allocation} is not held: it was released before, or is a copy")

    def _take_out(self, allocation: Allocation) -> None:
        self._check(allocation)
        del self._held[id(allocation)]

    def _exchange(self, old: Allocation, new: Allocation) -> Allocation:
        self._take_out(old)
        self._held[id(new)] = new
        return new

    def _came_back(self, gpus: tuple[str, ...]) -> None:
        held = self.held_gpus if gpus else frozenset()
        unused = tuple(uuid for uuid in gpus if uuid not in held)
        for listener in self.listeners:
            listener(unused)
        self._wake()

    def _wake(self) -> None:
        if self._released is not None:
            self._released.set()
            self._released = None

    def _share(
        self, needs: Needs, free: Capacity, *, may_use_reserve: bool = False
    ) -> Allocation | None:
        there = free if needs.gpu_count or may_use_reserve else self._reserve.beside(free)
        enough = (
            needs.cores <= there.cores
            and needs.memory <= there.memory
            and needs.disk <= there.disk
            and min(needs.cores, needs.memory, needs.disk) >= 0
        )
        gpus = self._gpus(needs, free.gpus) if enough else None
        return None if gpus is None else Allocation.of(needs, gpus)

    def _gpus(self, needs: Needs, free: tuple[Gpu, ...]) -> tuple[Gpu, ...] | None:
        return self._choose_gpus(needs, free) if needs.gpu_count else ()
