"""The seam to what this machine has: probes measure, the ledger counts, nothing else decides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from runner.model import Bytes, Capacity, Gpu

_NONE = Bytes(0)


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that uses a card."""

    #: As the driver counts: in a container it may be the host's, and mean nothing here.
    pid: int
    #: 0 where the driver does not tell.
    memory: Bytes = _NONE
    #: Only draws: a desktop, a display manager.
    draws: bool = False


@dataclass(frozen=True, slots=True)
class GpuReading:
    """What one card says of itself now; what it cannot tell is ``None``, zero or empty."""

    used: Bytes = _NONE
    processes: tuple[GpuProcess, ...] = ()
    #: Share of the last moment in which it computed, 0 to 1.
    utilization: float | None = None
    #: Degrees Celsius.
    temperature: int | None = None
    #: Watts.
    power: float | None = None
    #: Uncorrectable errors since the driver was loaded.
    ecc_errors: int = 0
    #: A retired page or a remapped row waits for a reset.
    repair_pending: bool = False
    #: A row could not be remapped: the card is to be exchanged.
    repair_failed: bool = False
    #: Xids since the look before this one, in order.
    xids: tuple[int, ...] = ()
    #: Why it does not answer, in the driver's words; empty while it does.
    lost: str = ""
    #: The driver says of this card, and not of itself, that it is lost or must be reset: what runs
    #: on it comes to nothing.
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class GpuInventory:
    """The cards that experiments may get, or why there are none."""

    gpus: tuple[Gpu, ...] = ()
    #: One sentence; empty where there are cards.
    why_none: str = ""
    #: By UUID, of each of ``gpus``; a part of a card has memory, processes and use
    #: of its own, and says for the rest what the card says.
    readings: Mapping[str, GpuReading] = field(default_factory=lambda: NO_READINGS)
    #: Versions: ``550.54.15``, ``12.4``; empty when unknown.
    driver: str = ""
    cuda: str = ""
    #: The environment of the daemon names a card that is not there: a sentence for the operator.
    misnamed: str = ""


NO_READINGS: Mapping[str, GpuReading] = MappingProxyType({})


class GpuProbe(ABC):
    """Finds the cards of this machine. Never raises: a machine without a driver has no cards."""

    @abstractmethod
    async def look(self) -> GpuInventory:
        """Look at all cards now; may be called by several tasks at a time."""

    @abstractmethod
    async def aclose(self) -> None:
        """End what the looking needs. Never hangs, whatever the driver does."""


@dataclass(frozen=True, slots=True)
class GpuReserve:
    """What experiments without a card leave free for each card of which nobody holds a part."""

    cores: int = 0
    memory: Bytes = _NONE

    def beside(self, free: Capacity) -> Capacity:
        """Return what of this is there for experiments without a card.

        Cards that are not given out now are not among those of ``free``: nothing is kept for them.
        """
        cards = sum(not gpu.group for gpu in free.gpus) if self.cores or self.memory else 0
        if not cards:
            return free
        return Capacity(
            cores=max(0, free.cores - self.cores * cards),
            memory=Bytes(max(0, free.memory - self.memory * cards)),
            disk=free.disk,
            gpus=free.gpus,
        )

    def complaint(self, total: Capacity) -> str:
        """Say that experiments without a card get nothing of an idle machine; else empty."""
        left = self.beside(total)
        nothing = [
            f"{option} keeps all {what} free for {len(total.gpus)} GPUs"
            for option, what, least, there in (
                ("--reserve-cores-per-gpu", f"{total.cores} cores", left.cores, total.cores),
                ("--reserve-mem-per-gpu", "memory", left.memory, total.memory),
            )
            if not least and there
        ]
        if not nothing:
            return ""
        kept = " and ".join(nothing)
        return f"{kept}: experiments without a GPU are refused; lower it to run any"


class HostProbe(ABC):
    """Measures cores, memory and disk that experiments may be given."""

    @abstractmethod
    def capacity(self) -> Capacity:
        """Return what may be given in all, before any cap of the operator's; no GPUs."""

    @abstractmethod
    def disk_is_low(self) -> str:
        """Say why nothing may be claimed for want of disk; empty when there is enough."""

    @abstractmethod
    def disk_below_floor(self) -> Bytes:
        """Return how much is to be freed before anything is claimed again, there."""

    @abstractmethod
    def disk_shortage(self) -> Bytes:
        """Return how much is to be freed for comfort, on the disk of the working directory."""
