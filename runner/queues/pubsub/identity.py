"""As whom Google is asked, and the channels that ask so."""

from __future__ import annotations

import json
import os
from typing import Any

import google.auth
import google.auth.credentials
import grpc.aio
from google.auth.exceptions import GoogleAuthError
from google.oauth2 import service_account
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from runner import blocking
from runner.errors import QueueDenied
from runner.queues.credential import GoogleCredential

_HOST = "pubsub.googleapis.com:443"
_SCOPES = ("https://www.googleapis.com/auth/pubsub",)
_OPTIONS: tuple[tuple[str, int], ...] = (
    # Each channel has a connection of its own: the front end limits the streams on one.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A connection that died without a word is noticed within a lease.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # The default waits up to two minutes for the next try: longer than a lease.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.min_reconnect_backoff_ms", 10_000),
)


class Identity:
    """One credential; the key is only in memory."""

    def __init__(self, credential: GoogleCredential) -> None:
        self.who = f"the credential {credential.origin}"
        self._key = credential.key
        self._emulator = credential.emulator or os.environ.get("PUBSUB_EMULATOR_HOST", "")
        self._credentials: google.auth.credentials.Credentials | None = None
        self._limit = blocking.Limit(1)

    async def channel(self) -> grpc.aio.Channel:
        """Make a channel of the running event loop. Raises QueueDenied."""
        if self._emulator:
            # A proxy of the environment knows no way to a port of this machine.
            options = (*_OPTIONS, ("grpc.enable_http_proxy", 0))
            return grpc.aio.insecure_channel(self._emulator, options=options)
        if self._credentials is None:
            self._credentials = await blocking.call(lambda _: self._load(), limit=self._limit)
        return SubscriberGrpcAsyncIOTransport.create_channel(
            _HOST, credentials=self._credentials, scopes=_SCOPES, options=_OPTIONS
        )

    def _load(self) -> google.auth.credentials.Credentials:
        """Read the key, or ask the machine who it is; that asks a server on Google's machines."""
        if not self._key:
            return self._of_machine()
        try:
            content: dict[str, Any] = json.loads(self._key.reveal())
            made: Any = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
                content, scopes=_SCOPES
            )
        # the causes would quote the key
        except (ValueError, LookupError, TypeError, AttributeError, GoogleAuthError):
            raise QueueDenied(
                f"{self.who} is no key of a service account, or a damaged one: download it anew"
            ) from None
        # A token that we sign ourselves needs no other server to be reached first.
        credentials: google.auth.credentials.Credentials = made.with_always_use_jwt_access(
            True  # noqa: FBT003 - Google's signature
        )
        return credentials

    def _of_machine(self) -> google.auth.credentials.Credentials:
        try:
            found, _ = google.auth.default(scopes=_SCOPES)
        except GoogleAuthError as error:
            raise QueueDenied(
                f"{self.who} is this machine's own Google identity, and it has none: {error}"
            ) from error
        credentials: google.auth.credentials.Credentials = found
        return credentials
