"""The machine's own identity: workload identity, an instance's role; no file, no key."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from runner.queues.credential import AwsCredential, GoogleCredential
from runner.queues.credentials.contents import Trouble
from runner.queues.credentials.finding import Found, marked
from runner.queues.credentials.sources import Sources

if TYPE_CHECKING:
    import urllib3

GOOGLE, AWS = "google", "aws"
ORIGIN: Final = "--ambient-credentials"
#: One scope for the machine, beside ``aws_`` and a directory's name.
AWS_SCOPE: Final = "aws_ambient"

#: Seconds to connect to a metadata service, and to have its answer.
_CONNECT, _READ = 0.5, 1.0
#: Seconds between two questions to a metadata service that gave no answer.
_AGAIN = 20.0
#: No answer is longer; what is, is none.
_LONGEST = 200


class Ambient:
    """Finds out whose identity the machine has. Everything here blocks, for 3 s at most."""

    def __init__(self, sources: Sources, environ: Mapping[str, str] = os.environ) -> None:
        self._sources = sources
        self._environ = environ
        self._project, self._region = sources.google_project, sources.aws_region
        self._next = 0.0

    def look(self, now: float) -> tuple[list[Found], list[Trouble]]:
        """Return the credentials, and what is missing for others; ``now`` in seconds."""
        wanted = self._sources.ambient
        asks = now >= self._next
        if GOOGLE in wanted and not self._project and asks:
            self._project = self._asked(_google_project)
        if AWS in wanted and not self._region and asks:
            self._region = self._asked(_aws_region)
        if asks:
            self._next = now + _AGAIN
        found, troubles = [], []
        if GOOGLE in wanted:
            found += [self._google()] if self._project else []
            troubles += [] if self._project else [_unknown("Google", "project", "google-project")]
        if AWS in wanted:
            found += [self._aws()] if self._region else []
            troubles += [] if self._region else [_unknown("AWS", "region", "aws-region")]
        return found, troubles

    def _asked(self, question: Callable[[urllib3.PoolManager, Mapping[str, str]], str]) -> str:
        # Most daemons have files of credentials, or none: they are spared 50 ms and 4 MB.
        import urllib3  # noqa: PLC0415

        timeout = urllib3.Timeout(connect=_CONNECT, read=_READ)
        with urllib3.PoolManager(timeout=timeout, retries=False) as pool:
            try:
                answer = question(pool, self._environ).strip()
            except urllib3.exceptions.HTTPError:
                return ""
        return answer if answer.isascii() and answer.isprintable() else ""

    def _google(self) -> Found:
        credential = GoogleCredential(
            broker="pubsub",
            scope=self._project,
            origin=ORIGIN,
            fingerprint="",
            emulator=self._sources.pubsub_emulator,
        )
        return Found(marked(credential), (), frozenset())

    def _aws(self) -> Found:
        credential = AwsCredential(
            broker="sqs",
            scope=AWS_SCOPE,
            origin=ORIGIN,
            fingerprint="",
            region=self._region,
            endpoint=self._sources.aws_endpoint,
        )
        return Found(marked(credential), (), frozenset())


def _google_project(pool: urllib3.PoolManager, environ: Mapping[str, str]) -> str:
    """Ask as Google's own libraries do; the variable is theirs."""
    host = environ.get("GCE_METADATA_HOST") or "169.254.169.254"
    url = f"http://{host}/computeMetadata/v1/project/project-id"
    return _text(pool.request("GET", url, headers={"Metadata-Flavor": "Google"}))


def _aws_region(pool: urllib3.PoolManager, environ: Mapping[str, str]) -> str:
    """Ask version 2 of the instance's metadata service; the variable is Amazon's."""
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return ""
    base = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
    base = base.rstrip("/")
    seconds = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    token = _text(pool.request("PUT", f"{base}/latest/api/token", headers=seconds))
    place = f"{base}/latest/meta-data/placement/region"
    return _text(pool.request("GET", place, headers={"X-aws-ec2-metadata-token": token}))


def _text(answer: urllib3.BaseHTTPResponse) -> str:
    if answer.status != 200 or len(answer.data) > _LONGEST:  # noqa: PLR2004 - HTTP's "OK"
        return ""
    return answer.data.decode("utf-8", "replace")


def _unknown(whose: str, what: str, option: str) -> Trouble:
    return Trouble(
        ORIGIN,
        f"finds no {whose} {what}: the machine's metadata service tells none; say it with "
        f"--{option}",
        whose,
    )
