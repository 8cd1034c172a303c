"""The client's own object for an experiment: ``experiments/KEY`` in its database."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from runner.errors import RunnerError
from runner.model import Location, Request, StoreConfig
from runner.stores.base import Conflict, NotFound, Store

_MAX_BODY = 16 << 20
#: Lost races against the client's own writing before the status is left as it is.
_TRIES = 5
#: Ours, beside the client's own: how the experiment ended, for which clients have one word only.
VERDICT = "runner"

Change = Callable[[float, dict[str, Any]], None]
"""Told the time, changes the document in place."""


def database_location(request: Request) -> Location | None:
    """Return where the client keeps the experiment; ``None`` for databases not spoken here."""
    database, key = request.database, request.experiment.key
    if database.type == "s3" and database.bucket:
        return _in_s3(database, f"experiments/{key}")
    if database.type != "local" or not database.endpoint.startswith("/"):
        return None
    parts = (database.endpoint.rstrip("/"), database.bucket, "experiments", key)
    return Location("file", "", "", "/".join(part for part in parts if part))


def _in_s3(database: StoreConfig, key: str) -> Location | None:
    """Return an object's address, in the form that artifacts have; no endpoint means Amazon's."""
    endpoint = database.endpoint
    try:
        split = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
        _ = split.port
    except ValueError:
        return None
    # A user and a password before the host are no part of the address.
    host = split.netloc.rpartition("@")[2].lower()
    return Location("s3", host, database.bucket, key)


class ClientStatus:
    """Writes what a client's ``studio-runs list`` shows, and reads whether somebody said stop.

    Nothing here ever fails an experiment: trouble comes back as a sentence for its output, each
    sentence once, empty when all is well. Unknown fields of the object are kept.
    """

    #: Between two looks whether it was stopped. The client's own worker looks every 10 s; half of
    #: that leaves a slow store time to answer within them.
    poll_seconds = 5.0

    def __init__(
        self,
        request: Request,
        store_for: Callable[[Location], Awaitable[Store]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._request = request
        self._location = database_location(request)
        self._store_for = store_for
        self._clock = clock
        self._said: set[str] = set()
        self._seen_version = ""
        #: What was read last: a client has set the status to ``stopped``.
        self.was_stopped = False

    async def started(self, at: float | None = None) -> str:
        """Show the experiment as running, since ``at`` where it was adopted.

        One that a client has stopped stays stopped.
        """

        def change(now: float, document: dict[str, Any]) -> None:
            self.was_stopped = document.get("status") == "stopped"
            if not self.was_stopped:
                document["status"] = "running"
            document["time_started"] = at or now
            document.pop(VERDICT, None)  # of an attempt before this one

        return await self._update(change)

    async def checkpoint(self) -> str:
        """Show when the mutable artifacts were stored last."""

        def change(now: float, document: dict[str, Any]) -> None:
            document["time_last_checkpoint"] = now

        return await self._update(change)

    async def finished(self, verdict: Mapping[str, object]) -> str:
        """Show the end; clients know one word for it whatever the outcome, ``verdict`` has more."""

        def change(now: float, document: dict[str, Any]) -> None:
            document |= {"status": "finished", "time_finished": now, VERDICT: dict(verdict)}

        return await self._update(change, durable=True)

    async def is_stopped(self) -> bool:
        """Tell whether a client has set the status to ``stopped``; no when it cannot be read."""
        if self._location is None:
            return False
        try:
            store = await self._store_for(self._location)
            version = (await store.stat(self._location)).version
            if version != self._seen_version:
                document = _document(await self._read(store, self._location))
                self.was_stopped = document.get("status") == "stopped"
                self._seen_version = version
        except (RunnerError, ValueError):
            return False
        return self.was_stopped

    async def _update(self, change: Change, *, durable: bool = False) -> str:
        if self._location is None:
            return self._once(self._why_not())
        try:
            store = await self._store_for(self._location)
            for _ in range(_TRIES):
                try:
                    await self._rewrite(store, self._location, change, durable=durable)
                except Conflict:
                    continue
                return ""
        except NotFound:
            trouble = "it is not there; was it deleted?"
        except (RunnerError, ValueError) as error:
            trouble = str(error)
        else:
            trouble = "somebody else keeps changing it"
        return self._once(f"the client's status object {self._location} is not kept: {trouble}")

    async def _rewrite(
        self, store: Store, location: Location, change: Change, *, durable: bool
    ) -> None:
        version = (await store.stat(location)).version
        document = _document(await self._read(store, location))
        change(self._clock(), document)
        await store.put_if(location, json.dumps(document).encode(), version, durable=durable)

    async def _read(self, store: Store, location: Location) -> bytes:
        return await store.read(location, lambda stream: stream.read(_MAX_BODY))

    def _why_not(self) -> str:
        database = self._request.database
        if not database.type:
            return ""  # the request names no database: there is nothing that anybody waits for
        if database.type == "s3":
            return (
                "config.database names no bucket, or an endpoint that is none: the client's status "
                "of this experiment is not kept"
            )
        if database.type == "local":
            return (
                f"config.database.endpoint is {database.endpoint!r}, not an absolute path: "
                "the client's status of this experiment is not kept"
            )
        return (
            f"config.database.type is {database.type!r}: the status of this experiment is not "
            "written there, so the client goes on showing it as waiting"
        )

    def _once(self, sentence: str) -> str:
        if sentence in self._said:
            return ""
        self._said.add(sentence)
        return sentence


def _document(body: bytes) -> dict[str, Any]:
    """Raises ValueError."""
    try:
        document = json.loads(body)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - one error for all bad content
    return document
