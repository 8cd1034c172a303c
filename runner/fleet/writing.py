"""Has a daemon tell of itself, again and again, without ever being waited for."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import BinaryIO

import anyio

from runner import log
from runner.errors import RunnerError
from runner.fleet.beat import Beat, encode
from runner.fleet.mount import Mount
from runner.fleet.place import FleetPlace
from runner.stores.base import Store, StoreOptions
from runner.stores.pool import StorePool

_log = log.get_logger(__name__)

#: Seconds that one beat may take to arrive; the next one says more.
_PATIENCE = 30.0
#: The same for the last one. Who ends without having told is called late, and then forgotten.
_LAST = 1.0
#: Fleets that were started at once shall not beat at once for ever.
_JITTER = 0.1


@dataclass(eq=False)
class Writer:
    """Writes one object over and over. A store that is away costs a warning, and nothing else."""

    place: FleetPlace
    options: StoreOptions
    #: Says how the daemon stands now; must not block.
    describe: Callable[[], Beat]
    #: The same of a daemon that ends.
    farewell: Callable[[], Beat]
    interval: timedelta = timedelta(seconds=60)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    patience: float = _PATIENCE
    last: float = _LAST
    #: Of a directory: what keeps us from being kept by it.
    mount: Mount | None = None
    #: How many beats have arrived.
    written: int = 0
    _store: Store | None = None
    _trouble: str = ""

    def __post_init__(self) -> None:
        if self.mount is None and self.place.root is not None:
            self.mount = Mount(self.place.root)

    async def write(self) -> None:
        """Beat until cancelled, and then once more."""
        async with StorePool(self.options) as pool:
            try:
                while True:
                    await self._tell(pool, self.describe(), self.patience)
                    await anyio.sleep(self.interval.total_seconds() * _about_one())
            finally:
                with anyio.CancelScope(shield=True):
                    await self._tell(pool, self.farewell(), self.last)
                self._store = None

    async def _tell(self, pool: StorePool, beat: Beat, seconds: float) -> None:
        try:
            with anyio.fail_after(seconds):
                await self._put(pool, beat)
        except TimeoutError:
            self._complain(f"{self.place} does not answer within {seconds:.0f} s")
        except RunnerError as error:
            self._complain(self.place.explained(error))
        else:
            self.written += 1
            if self._trouble:
                self._trouble = ""
                _log.info("the fleet's store is told again", store=str(self.place))

    async def _put(self, pool: StorePool, beat: Beat) -> None:
        if self.mount is not None:
            await self.mount.wait()
        location, body = self.place.location(beat.name), encode(beat)

        def produce(stream: BinaryIO) -> None:
            stream.write(body)

        if self._store is None:
            request = self.place.request(self.environ)
            self._store = await pool.store_for(location, request, queue_broker="local")
        await self._store.write(location, produce)

    def _complain(self, text: str) -> None:
        # One line for an outage, however its sentences vary.
        if not self._trouble:
            _log.warning("the fleet's store is not told how this runner stands", trouble=text)
        self._trouble = text


def _about_one() -> float:
    return random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
