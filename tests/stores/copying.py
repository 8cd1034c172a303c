"""A remote store without a network that makes objects out of ranges of themselves."""

from __future__ import annotations

from runner.model import Location, Span
from runner.stores.base import Account, Conflict, StoreOptions
from runner.stores.remote.client import Client
from runner.stores.remote.patching import SMALLEST, PatchingStore
from runner.stores.remote.retrying import Plan
from tests.stores.in_memory import InMemory, md5


class Copying(InMemory):
    """A store in memory that copies parts, and tells how large the first one was."""

    def copy_part(
        self, location: Location, upload: str, number: int, span: Span, *, version: str
    ) -> str:
        """Copy a range."""
        self._ask("copy_part", span.start)
        stored = self._found(location)
        if stored.info.version != version:
            raise Conflict(f"{location} has another version")
        body = stored.body[span.start : span.end]
        assert len(body) == span.length >= SMALLEST
        self.uploads[upload][number] = body
        self.trouble_after("copy_part", span.start)
        return md5(body)


class CopyingStore(PatchingStore):
    """The engine over a client of the test's own."""

    plan = Plan(first=0.001, longest=0.01, patience=2.0)

    def __init__(self, client: InMemory) -> None:
        super().__init__(Account("memory"), StoreOptions())
        self._given = client

    def make_client(self, account: Account, options: StoreOptions) -> Client:
        """Return the test's client."""
        del account, options
        return self._given
