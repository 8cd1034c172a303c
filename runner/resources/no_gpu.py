"""No cards: for machines that have none, or whose cards are not to be given out."""

from __future__ import annotations

from runner.resources.base import GpuInventory, GpuProbe


class NoGpuProbe(GpuProbe):
    """For machines whose cards, if any, are not to be given out."""

    def __init__(
        self, why: str = "GPUs are not given out: --cpu-only or --gpu-probe none is set"
    ) -> None:
        self._why = why

    async def look(self) -> GpuInventory:
        """Find nothing, at once."""
        return GpuInventory(why_none=self._why)

    async def aclose(self) -> None:
        """Nothing was opened."""
