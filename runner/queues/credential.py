"""What opens one account of one broker, wherever it was found: a file, an option, the machine.

Values, without any effect: the watched directory makes them, the brokers use them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.redaction import Secret


@dataclass(frozen=True, kw_only=True, slots=True)
class Credential:
    """What all have in common. Two of one ``broker`` and ``scope`` open the same account.

    ``scope`` is the ``project`` of the broker made of it, and outlives a rotation of the secret.
    """

    #: Registry name of the backend.
    broker: str
    scope: str
    #: Where people find it: a path below the watched directory, or an option's name.
    origin: str
    #: Changes whenever anything in it does.
    fingerprint: str
    #: Queues that are taken without being listed, by short name or by address.
    queues: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class GoogleCredential(Credential):
    """A service account's key; without one the machine's own identity. Scope: the project's id."""

    #: The key file as JSON; empty for the machine's own identity.
    key: Secret = field(default_factory=Secret)
    #: Where the key lies, for ``gs://`` artifacts of messages that came with it.
    key_file: Path | None = None
    #: Instead of the real service: ``host:port`` of an emulator, spoken to in clear text.
    emulator: str = ""

    @property
    def project(self) -> str:
        """The project's id."""
        return self.scope


@dataclass(frozen=True, kw_only=True, slots=True)
class AwsCredential(Credential):
    """Keys of one profile; without keys the machine's own. Scope: ``aws_`` and the directory."""

    region: str
    access_key: str = ""
    secret_key: Secret = field(default_factory=Secret)
    session_token: Secret = field(default_factory=Secret)
    #: Further keys of the profile that botocore understands, ``role_arn`` for one.
    profile: Mapping[str, str] = field(default_factory=dict)
    #: Instead of Amazon's own; ``endpoint_url`` of the profile or ``AWS_ENDPOINT_URL``.
    endpoint: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class AmqpCredential(Credential):
    """A RabbitMQ virtual host. Scope: its URL without user and password."""

    #: ``amqp[s]://USER:PASSWORD@HOST:PORT/VHOST``.
    url: Secret
    #: Management interface; empty: derived from ``url`` (protocol section 3.4).
    management_url: Secret = field(default_factory=Secret)
    #: PEM file of the authorities trusted for ``amqps`` and ``https``, in place of the system's.
    ca: Path | None = None
