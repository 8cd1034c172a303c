"""The files of the status page: read once, from the package, and given with strict headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from types import MappingProxyType

from runner import blocking
from runner.web.message import Answer, Request
from runner.web.site import Page

_LIMIT = blocking.Limit(1)
_FOLDER = "page"
#: By the end of a file's name.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_START = "index.html"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
#: Nothing but these files runs, nobody frames the page, and nobody learns that it was open. With
#: ``require-trusted-types-for`` a browser refuses to take any text as HTML, ours included.
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "content-security-policy": _POLICY,
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
        "referrer-policy": "no-referrer",
        "x-frame-options": "DENY",
    }
)


@dataclass(eq=False)
class Assets:
    """The files by the path that they are asked for by; ``/`` is the page itself."""

    _read: dict[str, Answer] = field(default_factory=dict)

    @property
    def pages(self) -> Mapping[str, Page]:
        """Return them; they hold no news of the daemon, and are open to everybody."""
        page = Page(self._answer, is_open=True)
        return dict.fromkeys(("/", *(f"/page/{name}" for name in _names())), page)

    async def _answer(self, request: Request) -> Answer:
        if request.path not in self._read:
            name = request.path.removeprefix("/page/").strip("/") or _START
            self._read[request.path] = await blocking.call(lambda _: _file(name), limit=_LIMIT)
        return self._read[request.path]


def _names() -> list[str]:
    found = (one.name for one in (files(__package__) / _FOLDER).iterdir())
    return sorted(name for name in found if _type(name) and name != _START)


def _file(name: str) -> Answer:
    body = (files(__package__) / _FOLDER / name).read_bytes()
    return Answer(200, body, _type(name), HEADERS)


def _type(name: str) -> str:
    return _TYPES.get(name[name.rfind(".") :], "")
