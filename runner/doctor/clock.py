"""The clock: compared with the date that a server says which the daemon talks to anyway."""

from __future__ import annotations

import email.utils
import http.client
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from runner import blocking
from runner.doctor.check import Finding, failed, ok, skipped, warning
from runner.doctor.examination import Tell
from runner.doctor.patient import LIMIT, Patient
from runner.queues.credential import AmqpCredential, AwsCredential, GoogleCredential

#: Amazon refuses signatures that are 5 minutes off, on some services 15; Google tokens likewise.
_REFUSED, _NOTICED = 240.0, 30.0
_PATIENCE = 5.0
_SYNC = "timedatectl set-ntp true (or: chronyc makestep)"
_SLEEP = 0.01


async def look(patient: Patient, tell: Tell) -> None:
    """Ask servers in turn until one says its date."""
    tell(await blocking.call(lambda _: _steady(), limit=LIMIT))
    tell(await blocking.call(lambda stop: _compared(list(servers(patient)), stop), limit=LIMIT))


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


def _compared(addresses: list[str], stop: blocking.Stop) -> Finding:
    about = "time of day"
    for address in dict.fromkeys(addresses):
        stop.check()
        said = _ask(address)
        if said is not None:
            return _of_date(said, about)
    why = "no server that was asked told its date" if addresses else "no server to compare with"
    here = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    return skipped(f"{why}; it is {here} UTC", about=about)


def _ask(address: str) -> _Said | None:
    """Return what a server says, whatever else it says; ``None``: no date."""
    split = urlsplit(address)
    kind = http.client.HTTPSConnection if split.scheme == "https" else http.client.HTTPConnection
    connection = kind(split.hostname or "", split.port, timeout=_PATIENCE)
    try:
        begun, asked = time.time(), time.monotonic()
        connection.request("HEAD", "/")
        date = connection.getresponse().getheader("Date")
        took = time.monotonic() - asked
        if not date:
            return None
        theirs = email.utils.parsedate_to_datetime(date).timestamp()
        # Dates have whole seconds, cut off: half of one is the best guess.
        return _Said(split.hostname or "", begun + took / 2 - theirs - 0.5, took)
    except (OSError, http.client.HTTPException, ValueError, ssl.SSLError):
        return None
    finally:
        connection.close()


def _of_date(said: _Said, about: str) -> Finding:
    off = max(0.0, abs(said.ahead) - 0.5 - said.took / 2)
    sentence = f"{off:.0f} s {'ahead of' if said.ahead > 0 else 'behind'} {said.host}"
    if off > _REFUSED:
        return failed(f"{sentence}: signatures and tokens are refused", _SYNC, about)
    if off > _NOTICED:
        return warning(f"{sentence}: signatures may be refused soon", _SYNC, about)
    return ok(f"within {max(1.0, off):.0f} s of {said.host}", about)
