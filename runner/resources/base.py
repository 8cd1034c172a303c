"""The seam to what this machine has: probes measure, the ledger counts, nothing else decides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from runner.model import Bytes, Capacity, Gpu


@dataclass(frozen=True, slots=True)
class GpuInventory:
    """The cards that experiments may get, or why there are none."""

    gpus: tuple[Gpu, ...] = ()
    #: One sentence; empty where there are cards.
    why_none: str = ""


class GpuProbe(ABC):
    """Finds the cards of this machine. Never raises: a machine without a driver has no cards."""

    @abstractmethod
    async def look(self) -> GpuInventory:
        """Take the inventory."""


class HostProbe(ABC):
    """Measures cores, memory and disk that experiments may be given."""

    @abstractmethod
    def capacity(self) -> Capacity:
        """Return what may be given in all, before any cap of the operator's; no GPUs."""

    @abstractmethod
    def disk_is_low(self) -> str:
        """Say why nothing may be claimed for want of disk; empty when there is enough."""

    @abstractmethod
    def disk_shortage(self) -> Bytes:
        """Return how much is to be freed for comfort, on the disk of the working directory."""
