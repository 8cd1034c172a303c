"""The clock: compared with the date that a server says which the daemon talks to anyway."""

from __future__ import annotations

import email.utils
import http.client
import ssl
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.parse import urlsplit

import anyio

from runner.doctor.check import Finding, failed, ok, skipped, warning
from runner.doctor.examination import Tell, aside
from runner.doctor.patient import Patient
from runner.queues.credential import AmqpCredential, AwsCredential, GoogleCredential

#: Amazon refuses signatures that are 5 minutes off, on some services 15; Google tokens likewise.
_REFUSED, _NOTICED = 240.0, 30.0
#: Seconds for one address of a server, and for all that are asked: a firewall may be silent.
_PATIENCE, _IN_ALL = 5.0, 20.0
_SYNC = "timedatectl set-ntp true (or: chronyc makestep)"
_SLEEP = 0.01
_TIME = "time of day"


async def look(patient: Patient, tell: Tell, *, in_all: float = _IN_ALL) -> None:
    """Ask servers in turn until one says its date, for ``in_all`` seconds."""
    tell(await aside(_steady))
    addresses = tuple(dict.fromkeys(servers(patient)))
    said = None
    with anyio.move_on_after(in_all):
        said = await aside(lambda: _first(addresses))
    tell(_of_date(said) if said else _unknown(addresses))


def _steady() -> Finding:
    """See whether the clock that leases are counted by goes on."""
    before = time.monotonic(), time.time()
    time.sleep(_SLEEP)
    after = time.monotonic(), time.time()
    if after[0] <= before[0] or after[1] <= before[1]:
        return failed(
            "the clocks of this machine stand still or go back: leases cannot be counted",
            "choose another clock source of the virtual machine, or restart it",
            "steady clock",
        )
    return ok("it goes on", "steady clock")


def servers(patient: Patient) -> Iterator[str]:
    """Return the addresses that the daemon would talk to, by HTTP."""
    for credential in patient.credentials:
        match credential:
            case AwsCredential(endpoint=endpoint, region=region):
                yield endpoint or f"https://sqs.{region}.amazonaws.com"
            case GoogleCredential(emulator=""):
                yield "https://pubsub.googleapis.com"
            case AmqpCredential(management_url=url) if url:
                split = urlsplit(url.reveal())
                yield f"{split.scheme}://{split.hostname}:{split.port or ''}".rstrip(":")
    yield from (one.config.endpoint for one in patient.buckets if one.config.endpoint)
    yield from ("https://storage.googleapis.com" for one in patient.buckets if one.scheme == "gs")
    if patient.settings.index_url.startswith("https://"):
        split = urlsplit(patient.settings.index_url)
        yield f"https://{split.hostname}:{split.port or 443}"


@dataclass(frozen=True, slots=True)
class _Said:
    host: str
    #: Seconds that our clock is ahead.
    ahead: float
    #: Of the question, which is as much uncertainty.
    took: float


def _unknown(addresses: Sequence[str]) -> Finding:
    why = "no server that was asked told its date" if addresses else "no server to compare with"
    here = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    return skipped(f"{why}; it is {here} UTC", about=_TIME)


def _first(addresses: Sequence[str]) -> _Said | None:
    """Ask servers in turn until one says its date."""
    answers = (_ask(address) for address in addresses)
    return next((said for said in answers if said is not None), None)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nobody elsewhere: a date is in every answer."""

    def redirect_request(self, *_: object) -> None:
        """Have the answer be what it is."""


def _ask(address: str) -> _Said | None:
    """Return what a server, or the proxy before it, says the date is; ``None``: no date."""
    host = urlsplit(address).hostname or ""
    # By a clock that is years off no certificate is valid, and it is to be found out.
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trusting), _Stay)
    begun, asked = time.time(), time.monotonic()
    try:
        question = urllib.request.Request(f"{address}/", method="HEAD")  # noqa: S310 - of http alone
        with opener.open(question, timeout=_PATIENCE) as answer:
            date = answer.headers["Date"]
    except HTTPError as error:
        date = error.headers["Date"]
        error.close()
    except (OSError, http.client.HTTPException, ValueError):
        return None
    took = time.monotonic() - asked
    try:
        theirs = email.utils.parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None
    # Dates have whole seconds, cut off: half of one is the best guess.
    return _Said(host, begun + took / 2 - theirs - 0.5, took)


def _of_date(said: _Said) -> Finding:
    off = max(0.0, abs(said.ahead) - 0.5 - said.took / 2)
    sentence = f"{off:.0f} s {'ahead of' if said.ahead > 0 else 'behind'} {said.host}"
    if off > _REFUSED:
        return failed(f"{sentence}: signatures and tokens are refused", _SYNC, _TIME)
    if off > _NOTICED:
        return warning(f"{sentence}: signatures may be refused soon", _SYNC, _TIME)
    return ok(f"within {max(1.0, off):.0f} s of {said.host}", _TIME)
