"""The low-level S3 client that boto3 is made of: one an account, with nothing of this machine's.

Without ``allow_own_credentials`` neither ``~/.aws`` nor the environment's keys nor the instance's
metadata are looked at.
"""

from __future__ import annotations

import functools
import os
import threading
from typing import TYPE_CHECKING, Any, cast

import botocore.session
from botocore import UNSIGNED
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from urllib3 import BaseHTTPResponse, PoolManager

from runner import __version__
from runner.model import Credentials
from runner.redaction import Secret
from runner.stores.base import Account

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

#: Making one is not safe from several threads; later ones take 10 ms, the first 200.
_making = threading.Lock()
_CONFIG = Config(
    # The engine repeats. Following a bucket to its region is no retry, and stays on.
    retries={"mode": "standard", "total_max_attempts": 1},
    # What is sent has a Content-MD5, which every S3 host verifies.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    # It knows no memoryview.
    parameter_validation=False,
    # The message says where its objects lie, not this machine.
    ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]  # newer than the stubs
    user_agent_extra=f"studio-runner/{__version__}",
)
_PATH_STYLE = Config(s3={"addressing_style": "path"})
_ANONYMOUS = Config(signature_version=UNSIGNED)
_REGION = "x-amz-bucket-region"
_NOT_FOUND = 404
#: Without any keys botocore would look for some, also where nothing is to be signed.
_NOBODY = Credentials("anonymous", Secret("anonymous"))
#: An instance's metadata service is asked more than once: without an answer it would be nobody's.
_ATTEMPTS = "metadata_service_num_attempts"
_PATIENT = {_ATTEMPTS: (_ATTEMPTS, f"AWS_{_ATTEMPTS.upper()}", 3, int)}
#: Neither this machine's files nor the profile that its environment names.
_NOTHING_OF_OURS = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


def make_client(account: Account, *, own: bool) -> S3Client:
    """Make a client for the account's keys; without any it is anonymous.

    ``own``: where the message brings none, or names a profile, with this machine's keys, if it has
    some. Raises BotoCoreError.
    """
    keys = account.credentials or Credentials()
    with _making:
        if own and (account.credentials is None or keys.profile):
            session = botocore.session.Session(_PATIENT, profile=keys.profile)
            is_anonymous = session.get_credentials() is None
            keys = Credentials()
        else:
            session = _session()
            is_anonymous = not keys.access_key
        config = _CONFIG
        if account.endpoint:
            config = config.merge(_PATH_STYLE)
        if is_anonymous:
            config, keys = config.merge(_ANONYMOUS), _NOBODY
        client = session.create_client(
            "s3",
            region_name=account.region or None,
            endpoint_url=account.endpoint or None,
            aws_access_key_id=keys.access_key or None,
            aws_secret_access_key=keys.secret_key.reveal() or None,
            aws_session_token=keys.session_token.reveal() or None,
            config=config,
        )
    return cast("S3Client", client)


class Transport:
    """Sends a client's requests through ``wires.pool``: they can be cut, and bodies come raw."""

    def __init__(self, client: S3Client, pool: PoolManager) -> None:
        self._pool = pool
        self._here = threading.local()
        # The stubs know no handler that returns something, and this kind of event needs one.
        client.meta.events.register("before-send.s3", cast("Any", self._send))

    @property
    def answer(self) -> BaseHTTPResponse:
        """Return the last answer that this thread got."""
        found: BaseHTTPResponse = self._here.answer
        return found

    def _send(self, request: AWSPreparedRequest, event_name: str, **_: object) -> Any:
        """Send in botocore's place, which takes what a handler returns for the answer."""
        headers: dict[str, str | bytes] = dict(request.headers.items())
        answer = self._pool.urlopen(
            request.method,
            request.url,
            body=request.body,
            headers={
                name: value.decode() if isinstance(value, bytes) else value
                for name, value in headers.items()
            },
            preload_content=False,
            decode_content=False,
            redirect=False,
        )
        self._here.answer = answer
        status = answer.status
        if event_name.endswith(".HeadBucket") and _REGION not in answer.headers:
            status = max(status, _NOT_FOUND)  # else botocore would ask for the region for ever
        made: Any = AWSResponse(request.url, status, cast("Any", answer.headers), answer)
        if not request.stream_output:
            made.content  # noqa: B018 - read, and kept
        return made


@functools.cache
def _session() -> botocore.session.Session:
    """Return the session of all messages' accounts: what it has loaded is loaded once."""
    return botocore.session.Session(session_vars=_NOTHING_OF_OURS)
