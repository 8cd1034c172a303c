"""What the settings and the environment say about where credentials come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from runner.queues.addresses import parse
from runner.queues.credentials import Sources
from runner.redaction import Secret
from runner.settings import Settings


def credential_sources(settings: Settings, environ: Mapping[str, str]) -> Sources:
    """Return the sources, as the finder and the stream of credentials want them.

    Raises Misconfigured for a ``--queue`` that is no address.
    """
    key = environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
    ambient = frozenset(settings.ambient_credentials)
    return Sources(
        certs_dir=settings.certs_dir,
        google_certs=settings.google_certs,
        sqs_certs=settings.sqs_certs,
        # With Google's own libraries the variable is a part of the machine's identity.
        google_key=Path(key).expanduser() if key and "google" not in ambient else None,
        amqp_url=_expanded(settings.amqp_url, environ),
        amqp_management_url=_expanded(settings.amqp_mgt_url, environ),
        ambient=ambient,
        google_project=settings.google_project,
        aws_region=settings.aws_region,
        pubsub_emulator=environ.get("PUBSUB_EMULATOR_HOST", ""),
        aws_endpoint=environ.get("AWS_ENDPOINT_URL_SQS") or environ.get("AWS_ENDPOINT_URL", ""),
        queues=tuple(parse(text) for text in settings.queue),
    )


def _expanded(secret: Secret, environ: Mapping[str, str]) -> Secret:
    """Put in variables, ``$NAME`` or ``${NAME}``; what is none of them stays as it is written."""
    return Secret(
        re.sub(r"\$(\w+|\{\w+\})", lambda m: environ.get(m[1].strip("{}"), m[0]), secret.reveal())
    )
