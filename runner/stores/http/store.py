"""``http://`` and ``https://`` objects: the ``url`` artifacts of clients, read only."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from runner.model import Location
from runner.stores.base import AccessDenied, Account, ObjectInfo, StoreOptions, unasked
from runner.stores.http.client import READ_ONLY, HttpClient
from runner.stores.remote.client import Client
from runner.stores.remote.store import RemoteStore


class HttpStore(RemoteStore):
    """Every public web server, and those near ones that the operator names."""

    def make_client(self, account: Account, options: StoreOptions) -> Client:
        """Make the client of all servers; there is only one account."""
        del account
        return HttpClient(options.http_private_hosts)

    async def write(
        self,
        location: Location,
        produce: Callable[[BinaryIO], None],
        *,
        permitted: Callable[[], None] = unasked,
    ) -> ObjectInfo:
        """Refuse before anything is produced."""
        del produce, permitted
        raise AccessDenied(f"{location} {READ_ONLY}")
