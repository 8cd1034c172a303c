"""Who we are at AWS: keys, a role that keys or this machine assume, or the machine itself."""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    AssumeRoleWithWebIdentityCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    Credentials,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import NoCredentialsError

from runner import __version__
from runner.errors import QueueDenied
from runner.queues.credential import AwsCredential
from runner.queues.sqs.pools import CONNECT

# What it has to say about keys that it does not get arrives here as an exception, which is told.
logging.getLogger("botocore.credentials").setLevel(logging.ERROR)

#: Making clients is not safe from several threads; the first takes 200 ms, later ones 10.
_making = threading.Lock()
#: Neither this machine's files nor the profile that its environment names.
_NOTHING_OF_OURS: dict[str, Any] = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}
#: As profiles write them, and as the call that assumes a role does.
_ROLE_WORDS = {"role_session_name": "RoleSessionName", "external_id": "ExternalId"}
_SESSION_NAME = "studio-runner"


def make_client(credential: AwsCredential, read: float) -> tuple[Any, Callable[[], None]]:
    """Make botocore's SQS client, with what closes all else that was opened for it.

    ``read``: seconds for an answer of the token service. Raises BotoCoreError, QueueDenied.
    """
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 2},
        connect_timeout=CONNECT,
        read_timeout=read,
        parameter_validation=False,
        user_agent_extra=f"studio-runner/{__version__}",
        # A profile of the watched directory goes where it says, not where this machine's say.
        ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]  # newer than the stubs
    )
    role = _Role(credential, config) if credential.profile.get("role_arn") else None
    with _making:
        client = _session(credential, role).create_client(
            "sqs",
            region_name=credential.region,
            endpoint_url=credential.endpoint or None,
            config=config,
            **({} if role else _keys(credential)),
        )
    return client, role.close if role else _nothing


def _nothing() -> None:
    """Close nothing."""


def _keys(credential: AwsCredential) -> dict[str, Any]:
    if not credential.access_key:
        return {}
    return {
        "aws_access_key_id": credential.access_key,
        "aws_secret_access_key": credential.secret_key.reveal(),
        "aws_session_token": credential.session_token.reveal() or None,
    }


def _session(credential: AwsCredential, role: _Role | None) -> botocore.session.Session:
    if role is not None:
        session = botocore.session.Session(session_vars=_NOTHING_OF_OURS)
        session.register_component("credential_provider", CredentialResolver([role]))
        return session
    return _shared() if credential.access_key else _own()


def _own() -> botocore.session.Session:
    """Return a session of this machine's identity: a client made without one never gets it."""
    session = botocore.session.Session()
    if session.get_credentials() is None:
        raise NoCredentialsError
    return session


@functools.cache
def _shared() -> botocore.session.Session:
    """Return the session of all keys: what it has loaded is loaded once."""
    return botocore.session.Session(session_vars=_NOTHING_OF_OURS)


class _Role(CredentialProvider):
    """Temporary keys of a role, fetched anew before they expire."""

    METHOD = CANONICAL_NAME = "studio-runner-role"

    def __init__(self, credential: AwsCredential, config: Config) -> None:
        super().__init__()
        self._credential = credential
        self._role = credential.profile["role_arn"]
        self._config = config
        self._sts: Any = None

    def close(self) -> None:
        """Close the connection to the token service."""
        if self._sts is not None:
            self._sts.close()

    def load(self) -> DeferredRefreshableCredentials:
        """Return keys that are fetched when the first call needs them."""
        fetch = (
            self._web() if "web_identity_token_file" in self._credential.profile else self._own()
        )
        return DeferredRefreshableCredentials(
            method=self.METHOD, refresh_using=fetch.fetch_credentials
        )

    def _own(self) -> AssumeRoleCredentialFetcher:
        return AssumeRoleCredentialFetcher(
            self._create_client, self._source(), self._role, extra_args=self._extra()
        )

    def _web(self) -> AssumeRoleWithWebIdentityCredentialFetcher:
        file = Path(self._credential.profile["web_identity_token_file"])
        return AssumeRoleWithWebIdentityCredentialFetcher(
            self._create_client, file.read_text, self._role, extra_args=self._extra()
        )

    def _source(self) -> Credentials:
        """Return the keys that may assume the role: the profile's, else this machine's own."""
        keys = self._credential
        if keys.access_key:
            token = keys.session_token.reveal() or None
            return Credentials(keys.access_key, keys.secret_key.reveal(), token)
        found = botocore.session.Session().get_credentials()
        if found is None:
            raise QueueDenied(
                f"{keys.origin}: role {self._role} is to be assumed by this machine, which has no "
                "AWS identity of its own: give it one, or write keys into the profile"
            )
        return found

    def _extra(self) -> dict[str, Any]:
        profile = self._credential.profile
        extra: dict[str, Any] = {"RoleSessionName": _SESSION_NAME}
        extra |= {said: profile[name] for name, said in _ROLE_WORDS.items() if name in profile}
        if (seconds := profile.get("duration_seconds", "")).isdecimal():
            extra["DurationSeconds"] = int(seconds)
        return extra

    def _create_client(self, service: str, **given: Any) -> Any:
        config = given.pop("config", None)
        # Without any keys botocore would look for some, also where nothing is to be signed.
        keys = given or {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
        self.close()
        self._sts = _shared().create_client(
            service,
            region_name=self._credential.region,
            endpoint_url=self._credential.endpoint or None,
            config=self._config.merge(config) if config else self._config,
            **keys,
        )
        return self._sts
