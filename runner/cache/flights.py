"""One fetch of a key at a time within a process: the others wait for how it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import anyio

from runner.errors import TooLarge


class Flight:
    """One fetch, or check, that others may wait for."""

    def __init__(self) -> None:
        self._over = anyio.Event()
        #: It ended with something to use, or with nothing that concerns the others.
        self._again = False
        self._error: Exception | None = None

    async def landed(self) -> bool:
        """Wait for its end; tell whether to look again. Raises what its fetch raised."""
        await self._over.wait()
        if self._error is not None:
            raise self._error
        return self._again

    def succeed(self) -> None:
        """The entry is there now."""
        self._again = True

    def end(self, error: BaseException | None) -> None:
        """Tell all who wait."""
        if isinstance(error, Exception) and not isinstance(error, TooLarge):
            self._error = error
        elif error is not None:  # cancelled, or another's disk need: no concern of the others
            self._again = True
        self._over.set()


class Flights:
    """Those that are under way."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    def find(self, key: str) -> Flight | None:
        """Return the one to wait for."""
        return self._flights.get(key)

    @contextlib.contextmanager
    def begin(self, key: str) -> Iterator[Flight]:
        """Be the one that others wait for."""
        flight = self._flights[key] = Flight()
        error: BaseException | None = None
        try:
            yield flight
        except BaseException as raised:
            error = raised
            raise
        finally:
            del self._flights[key]
            flight.end(error)
