"""How full the cache and the environments are, asked seldom: to count them takes time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import anyio

from runner.lifecycle.parts import Parts
from runner.model import Stock

Item = dict[str, Any]
_SECONDS = 20.0


@dataclass(eq=False)
class Stocks:
    """What is kept for experiments to come."""

    parts: Parts
    clock: Callable[[], float] = time.monotonic
    _cache: Stock | None = None
    _environments: Stock | None = None
    _asked_at: float = float("-inf")
    _asking: anyio.Lock = field(default_factory=anyio.Lock)

    async def look(self) -> Item:
        """Return ``cache`` and ``environments``, each ``None`` where there is none."""
        async with self._asking:
            if self.clock() - self._asked_at >= _SECONDS:
                cache = self.parts.cache
                self._cache = None if cache is None else await cache.stock()
                self._environments = await self.parts.environments.stock()
                self._asked_at = self.clock()
        return {"cache": self._cache_row(), "environments": self._environments_row()}

    def _cache_row(self) -> Item | None:
        if self._cache is None or self.parts.cache is None:
            return None
        counts = self.parts.cache.counts
        return {
            "used": self._cache.used,
            "limit": self._cache.limit,
            "hits": counts.hits,
            "misses": counts.misses,
            "saved_bytes": counts.bytes_saved,
        }

    def _environments_row(self) -> Item | None:
        if self._environments is None:
            return None
        tally = self.parts.tally
        return {**asdict(self._environments), "built": tally.built, "reused": tally.reused}
