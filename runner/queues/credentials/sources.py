"""Where credentials may come from, as one value: what the options and the environment say."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from runner.queues.addresses import QueueAddress
from runner.redaction import Secret


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """Everything that can lead to a credential; empty fields lead to none."""

    #: Watched; every form of credential, at any depth. It need not exist yet.
    certs_dir: Path | None = None
    #: Watched; Google's key files alone.
    google_certs: Path | None = None
    #: Watched; AWS credentials alone, one directory each.
    sqs_certs: Path | None = None
    #: ``GOOGLE_APPLICATION_CREDENTIALS``: one key file, watched.
    google_key: Path | None = None
    #: Variables are expanded by now.
    amqp_url: Secret = field(default_factory=Secret)
    amqp_management_url: Secret = field(default_factory=Secret)
    #: Brokers that the machine's own identity is used for: ``google``, ``aws``.
    ambient: frozenset[str] = frozenset()
    #: Of the machine's own identity; empty: its metadata service is asked.
    google_project: str = ""
    aws_region: str = ""
    #: Instead of Google, for every Google credential: ``host:port``.
    pubsub_emulator: str = ""
    #: Instead of Amazon, where a profile names no ``endpoint_url`` of its own.
    aws_endpoint: str = ""
    #: ``--queue``: taken without being listed.
    queues: tuple[QueueAddress, ...] = ()

    #: What a file says counts when nothing about it has changed for so long.
    quiet: timedelta = timedelta(seconds=0.4)
    #: How often one looks at the directories besides being told of changes.
    glance: timedelta = timedelta(seconds=0.75)
    #: What is wrong is said when it has stood for so long: a second file may be on its way.
    patience: timedelta = timedelta(seconds=2)
