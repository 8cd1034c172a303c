"""``gs://`` objects behind one Google account."""

from __future__ import annotations

import importlib.util

from runner.stores.base import Account, StoreOptions
from runner.stores.remote.client import Client
from runner.stores.remote.store import RemoteStore

# The SDK takes most of a second to import: that is left to the worker thread that opens the store,
# but whoever lacks it hears so from the registry, as with every other backend.
if importlib.util.find_spec("google.cloud.storage") is None:
    raise ImportError("google-cloud-storage is not installed", name="google.cloud.storage")


class GcsStore(RemoteStore):
    """Objects of Google Cloud Storage; their version is Google's generation."""

    def make_client(self, account: Account, options: StoreOptions) -> Client:
        """Connect as the account says, or else as nobody: that is enough for public objects."""
        from runner.stores.gcs.client import GcsClient  # noqa: PLC0415 - see above
        from runner.stores.gcs.identity import identity_of  # noqa: PLC0415

        return GcsClient(identity_of(account, options), account.endpoint)

    def make_public_client(self, account: Account, options: StoreOptions) -> Client | None:
        """Read as nobody what is denied to the account: an expired key hides no public object."""
        from runner.stores.gcs.client import GcsClient  # noqa: PLC0415 - see above
        from runner.stores.gcs.identity import NOBODY, is_nobody  # noqa: PLC0415

        return None if is_nobody(account, options) else GcsClient(NOBODY, account.endpoint)
