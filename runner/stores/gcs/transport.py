"""The HTTP session that the Google SDK sends through: ours, so that transfers can be stopped."""

from __future__ import annotations

import os
from typing import Any

import google.auth.transport.requests
import requests
import requests.adapters
from requests.cookies import RequestsCookieJar

from runner.stores.gcs.identity import Identity
from runner.stores.remote import wires
from runner.wires import close

#: Seconds to connect, and without a byte.
TIMEOUT = (wires.CONNECT, wires.READ)
_TOKENS = "https://oauth2.googleapis.com"
#: Where other tools of this SDK look for the authorities of a company's proxy.
AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


class _Adapter(requests.adapters.HTTPAdapter):
    """Sends through connections that can be cut, and never without a deadline."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Use the pool of all stores; it has its own proxy, timeouts and size."""
        del args
        self.poolmanager = wires.pool(self._endpoint, **options)

    def close(self) -> None:
        """Close the connections."""
        close(self.poolmanager)

    def send(
        self, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> requests.Response:
        """Send with our timeouts where the caller has none."""
        if not args and options.get("timeout") is None:
            options["timeout"] = TIMEOUT
        return super().send(request, *args, **options)


class _NoCookies(RequestsCookieJar):
    """Keeps nothing: one session serves many threads."""

    def set_cookie(self, *args: Any, **options: Any) -> None:
        """Forget it."""


class GoogleSession(google.auth.transport.requests.AuthorizedSession):
    """Adds the tokens of an identity to its requests, and fetches new ones itself."""

    def __init__(self, identity: Identity, endpoint: str) -> None:
        self._tokens = requests.Session()
        _prepare(self._tokens, _TOKENS)
        super().__init__(  # type: ignore[no-untyped-call]
            identity.credentials,
            auth_request=google.auth.transport.requests.Request(self._tokens),
            refresh_status_codes=google.auth.transport.DEFAULT_REFRESH_STATUS_CODES
            if identity.renews
            else (),
        )
        _prepare(self, endpoint)

    def close(self) -> None:
        """Close all connections, those to the token server too."""
        self._tokens.close()
        super().close()  # type: ignore[no-untyped-call]


def _prepare(session: requests.Session, endpoint: str) -> None:
    # Without this, requests would send the password of a .netrc instead of the token.
    session.trust_env = False
    session.cookies = _NoCookies()
    session.verify = next((os.environ[name] for name in AUTHORITIES if os.environ.get(name)), True)
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(endpoint))
