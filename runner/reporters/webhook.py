"""News as JSON for a program of the operator's own: one POST an event."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError

from runner import __version__, wires
from runner.model import Report
from runner.redaction import Redactor, Secret
from runner.reporters.courier import Hopeless, Later, Patience
from runner.reporters.errand import Errands, StillBusy
from runner.reporters.options import WebhookOptions
from runner.reporters.posting import CALL, PostingReporter, wanted_pause
from runner.reporters.webhook_document import document

#: Seconds without a byte.
_SILENCE = 10.0
_TOO_MANY, _TIMEOUT, _SERVER_ERROR = 429, 408, 500
_SUCCESS = range(200, 300)
_ELSEWHERE = range(300, 400)


class WebhookReporter(PostingReporter):
    """Posts every event in the background; whatever the server does, nobody waits for it."""

    name = "webhook"

    def __init__(
        self,
        options: WebhookOptions,
        redactor: Redactor,
        *,
        patience: Patience = Patience(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(redactor, patience=patience)
        self._options = options
        self._host = socket.gethostname()
        self._errands = Errands("webhook", seconds=CALL)
        #: The one that is being delivered, with its body: each try sends the same.
        self._under_way: tuple[Report, bytes] | None = None

    async def deliver(self, report: Report) -> None:
        """Post one event."""
        if self._under_way is None or self._under_way[0] is not report:
            self._under_way = report, self._body(report)
        body = self._under_way[1]
        try:
            await self._errands.run(lambda: self._post(report, body))
        except TimeoutError:
            raise Later(f"no answer within {CALL:g} s") from None
        except StillBusy as error:
            raise Later(str(error)) from None
        except LocationParseError:
            raise Hopeless("the address of --webhook cannot be understood") from None
        except (HTTPError, OSError) as error:
            # What urllib3 says in full holds the address, which may be a secret.
            raise Later(f"it cannot be reached: {_reason(error)}") from None

    def _body(self, report: Report) -> bytes:
        event = document(report, id=secrets.token_hex(16), host=self._host, at=datetime.now(UTC))
        return json.dumps(event, ensure_ascii=False).encode()

    def _post(self, report: Report, body: bytes) -> None:
        url = self._options.url.reveal()
        # No connection is kept: news are seldom, and no server keeps one for hours.
        pool = wires.pool(url, timeout=_SILENCE)
        try:
            headers = self._headers(report, body)
            answer = pool.request(
                "POST", url, body=body, headers=headers, redirect=False, preload_content=False
            )
            answer.close()
        finally:
            wires.close(pool)
        _judge(answer)

    def _headers(self, report: Report, body: bytes) -> Mapping[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"studio-runner/{__version__}",
            "X-Studio-Runner-Event": report.news.value,
        }
        if self._options.secret:
            stamp = str(int(time.time()))
            headers["X-Studio-Runner-Timestamp"] = stamp
            headers["X-Studio-Runner-Signature"] = signature(self._options.secret, stamp, body)
        return headers


def signature(secret: Secret, stamp: str, body: bytes) -> str:
    """Return what proves that a body is ours and of this time: ``sha256=HEX``."""
    signed = stamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.reveal().encode(), signed, hashlib.sha256).hexdigest()


def _judge(answer: urllib3.BaseHTTPResponse) -> None:
    """Raise what a status means that is no success."""
    status = answer.status
    if status in _SUCCESS:
        return
    if status == _TOO_MANY or (status >= _SERVER_ERROR and "retry-after" in answer.headers):
        raise Later(f"it answers {status}", wanted_pause(answer.headers.get("retry-after")))
    if status == _TIMEOUT or status >= _SERVER_ERROR:
        raise Later(f"it answers {status}")
    if status in _ELSEWHERE:
        raise Hopeless(f"it answers {status}: write into --webhook where it moved to")
    raise Hopeless(
        f"it answers {status}: is the address of --webhook right, and may we write there?"
    )


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(getattr(reason, "strerror", None) or type(reason).__name__)
