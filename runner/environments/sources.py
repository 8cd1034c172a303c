"""Where packages come from: the operator's indexes, proxies and authorities."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.model import NOTHING

#: Of what follows, what names a file of trusted authorities.
AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
#: What the daemon's own environment may say about networks; nothing else of it reaches a build.
NETWORK = (
    *(
        name
        for upper in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
        for name in (upper, upper.lower())
    ),
    *AUTHORITIES,
    "SSL_CERT_DIR",
    "UV_HTTP_TIMEOUT",
)
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s'\"]+@")


@dataclass(frozen=True, slots=True)
class Sources:
    """Index settings of the operator; they reach the build alone."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    #: Only ``find_links`` count.
    no_index: bool = False
    #: ``auto`` looks at the machine's driver; empty leaves PyTorch to the indexes above.
    torch_backend: str = "auto"
    #: Proxy and certificate variables for the installer.
    variables: Mapping[str, str] = field(default_factory=lambda: NOTHING)

    def lines(self) -> list[str]:
        """Return the head of a requirement file: there, unlike in argv, no other user reads it."""
        lines = ["--no-index"] if self.no_index else []
        if self.index_url:
            lines.append(f"--index-url {self.index_url}")
        lines += [f"--extra-index-url {url}" for url in self.extra_index_urls]
        lines += [f"--find-links {place}" for place in self.find_links]
        return lines

    def fingerprint(self) -> list[object]:
        """Return what makes an environment another one; a new password does not."""
        return [
            redact(self.index_url or ""),
            [redact(url) for url in self.extra_index_urls],
            [redact(place) for place in self.find_links],
            self.no_index,
        ]

    def changed(self) -> list[int]:
        """Return when each local directory of packages last changed."""
        places = (Path(place.removeprefix("file://")) for place in self.find_links)
        return [place.stat().st_mtime_ns for place in places if place.is_dir()]


def network_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy and certificate variables of ``environ``."""
    return {name: environ[name] for name in NETWORK if environ.get(name)}


def redact(text: str) -> str:
    """Hide the user and password of every address in ``text``."""
    return _CREDENTIALS.sub("***@", text)
