"""One GET to whatever a message names: every hop is checked, then sent to what was checked."""

from __future__ import annotations

import ssl
import threading
import urllib.parse
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from runner.errors import StoreUnavailable
from runner.model import Location
from runner.stores.base import AccessDenied
from runner.stores.http.answers import redirect_in
from runner.stores.http.places import Place, addresses_of, place_of, shown
from runner.stores.remote import wires
from runner.wires import close

#: Where the operator names further authorities; ``ssl`` reads it.
AUTHORITIES = "SSL_CERT_FILE"
#: Hops to another address.
_REDIRECTS = 5
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "studio-runner"}
_RAW: Mapping[str, Any] = {
    "redirect": False,
    "preload_content": False,
    "decode_content": False,
}
#: Servers whose connections are kept.
_SERVERS = 16
#: Another address of the same host may answer.
_ELSEWHERE = (NewConnectionError, ConnectTimeoutError)


class Hops:
    """The way to an answer, and the connections of all ways."""

    def __init__(self, private_hosts: Sequence[str]) -> None:
        self._private_hosts = tuple(private_hosts)
        self._trust = ssl.create_default_context()
        self._pools: OrderedDict[str, urllib3.PoolManager] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self, location: Location, headers: Mapping[str, str]
    ) -> tuple[urllib3.BaseHTTPResponse, str]:
        """Follow redirects to an answer that is none; return it, and what to call its address.

        Raises AccessDenied for a place that messages may not name, and StoreUnavailable.
        """
        url = first = f"{location.scheme}://{location.host}/{location.key}"
        for _ in range(_REDIRECTS + 1):
            named = str(location) if url == first else f"{location} (it leads to {shown(url)})"
            try:
                answer = self._ask(place_of(url), headers)
            except HTTPError as error:
                raise unavailable(named, error) from error
            target = redirect_in(answer.status, answer.headers)
            if target is None:
                return answer, named
            answer.close()
            url = _next(location, url, target)
        raise AccessDenied(f"{location} leads to more than {_REDIRECTS} other addresses")

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            for pool in self._pools.values():
                close(pool)
            self._pools.clear()

    def _ask(self, place: Place, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        pool = self._pool(place)
        is_proxied = pool.proxy is not None
        addresses = addresses_of(place, self._private_hosts, is_proxied=is_proxied)
        if is_proxied:
            return pool.urlopen("GET", place.url, headers={**_HEADERS, **headers}, **_RAW)
        # TLS checks the certificate against the name, not against the address.
        by_name = {"server_hostname": place.host} if place.scheme == "https" else {}
        named = {**_HEADERS, "Host": place.authority, **headers}

        def ask(address: str) -> urllib3.BaseHTTPResponse:
            server = pool.connection_from_host(address, place.port, place.scheme, by_name)
            return server.urlopen("GET", place.target, headers=named, **_RAW)

        *others, last = addresses
        for address in others:
            with suppress(*_ELSEWHERE):
                return ask(address)
        return ask(last)

    def _pool(self, place: Place) -> urllib3.PoolManager:
        origin = f"{place.scheme}://{place.authority}"
        with self._lock:
            pool = self._pools.get(origin)
            if pool is None:
                pool = self._pools[origin] = wires.pool(origin, ssl_context=self._trust)
            self._pools.move_to_end(origin)
            while len(self._pools) > _SERVERS:
                # Not closed: another thread may be about to use it.
                self._pools.popitem(last=False)[1].clear()
            return pool


def unavailable(named: str, error: HTTPError) -> StoreUnavailable:
    """Say what broke on the way."""
    return wires.unavailable(named, error, authority=AUTHORITIES)


def _next(location: Location, url: str, target: str) -> str:
    """Return the address that a redirect leads to."""
    try:
        following = urllib.parse.urldefrag(urllib.parse.urljoin(url, target)).url
    except ValueError:
        raise AccessDenied(f"{location} leads to no address") from None
    if url.startswith("https:") and not following.startswith("https:"):
        raise AccessDenied(f"{location} leads from https to {shown(following)}: that is not safe")
    return following
