"""Has a daemon tell of itself, again and again, without ever being waited for."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import BinaryIO

import anyio

from runner import log
from runner.errors import RunnerError
from runner.fleet.beat import Beat, encode
from runner.fleet.carrier import Carrier, Put
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
    #: How many beats have arrived.
    written: int = 0
    #: ``None``: to the store that the place names.
    carrier: Carrier | None = None
    _trouble: str = ""

    async def write(self) -> None:
        """Beat until cancelled, and then once more."""
        carrier = self.carrier or Carrier(self._opened, self.patience)
        try:
            while True:
                await self._tell(carrier, self.describe, self.patience)
                await anyio.sleep(self.interval.total_seconds() * _about_one())
        finally:
            with anyio.CancelScope(shield=True):
                end = anyio.current_time() + self.last
                await self._tell(carrier, self.farewell, self.last)
                await carrier.close(max(0.0, end - anyio.current_time()))

    async def _tell(self, carrier: Carrier, describe: Callable[[], Beat], seconds: float) -> None:
        try:
            beat = describe()
            with anyio.fail_after(seconds):
                await carrier.carry(beat.name, encode(beat))
        except TimeoutError:
            self._complain(f"{self.place} does not answer within {seconds:.0f} s")
        except RunnerError as error:
            self._complain(self.place.explained(error))
        except Exception as error:  # noqa: BLE001 - our bug must not cost what runs
            self._complain(f"a defect of the runner: {type(error).__name__}: {error}")
        else:
            self.written += 1
            if self._trouble:
                self._trouble = ""
                _log.info("the fleet's store is told again", store=str(self.place))

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Put]:
        async with StorePool(self.options) as pool:
            store: Store | None = None

            async def put(name: str, body: bytes) -> None:
                nonlocal store
                location = self.place.location(name)
                if store is None:
                    request = self.place.request(self.environ)
                    store = await pool.store_for(location, request, queue_broker="local")
                await store.write(location, lambda stream: _all(stream, body))

            yield put
            store = None

    def _complain(self, text: str) -> None:
        # One line for an outage, however its sentences vary.
        if not self._trouble:
            _log.warning("the fleet's store is not told how this runner stands", trouble=text)
        self._trouble = text


def _about_one() -> float:
    return random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret


def _all(stream: BinaryIO, body: bytes) -> None:
    stream.write(body)
