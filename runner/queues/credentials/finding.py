"""What was found in a file or an option: a credential, or what is wrong with it. Values."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from typing import TypeVar

from runner.queues.credential import AmqpCredential, AwsCredential, Credential, GoogleCredential
from runner.redaction import Secret

C = TypeVar("C", bound=Credential)

#: Of this process alone: a fingerprint in a log helps nobody to guess a password.
_KEY = os.urandom(32)


class BadCredential(Exception):
    """A file is no credential that can be used; the text says why and what helps, no secret."""


@dataclass(frozen=True, slots=True)
class Found:
    """A credential and what belongs to it."""

    credential: Credential
    #: What must never be shown.
    secrets: tuple[Secret, ...]
    #: The files it was made of, absolute.
    files: frozenset[str]
    #: When the newest of them was written, in nanoseconds; the newest key is the likeliest to work.
    written: int = 0

    @property
    def account(self) -> tuple[str, ...]:
        """Say what it opens: two of the same account are one credential, or one's spare."""
        match self.credential:
            case AwsCredential(access_key=key, region=region, endpoint=endpoint, profile=profile):
                return ("sqs", key, region, endpoint, profile.get("role_arn", ""))
            case credential:
                return (credential.broker, credential.scope)

    @property
    def secret(self) -> str:
        """Tell apart two that open the same account with different secrets."""
        match self.credential:
            case GoogleCredential(key=key, emulator=emulator):
                return _digest(key.reveal(), emulator)
            case AwsCredential(secret_key=key, session_token=token):
                return _digest(key.reveal(), token.reveal())
            case AmqpCredential(url=url, management_url=management):
                return _digest(url.reveal(), management.reveal())
        return ""


def marked(credential: C, *more: str) -> C:
    """Return the credential with the fingerprint of all that is in it, and of ``more``."""
    parts = [type(credential).__name__, *more]
    for field in dataclasses.fields(credential):
        if field.name == "fingerprint":
            continue
        value = getattr(credential, field.name)
        parts.append(f"{field.name}={value.reveal() if isinstance(value, Secret) else value!r}")
    return dataclasses.replace(credential, fingerprint=_digest(*parts))


def _digest(*parts: str) -> str:
    mark = hashlib.blake2b(key=_KEY, digest_size=12)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        mark.update(len(data).to_bytes(8, "big") + data)
    return mark.hexdigest()
