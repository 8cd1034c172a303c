"""Which credential opens the queue that somebody named. Pure, but for one key file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from runner.errors import Misconfigured
from runner.queues.addresses import (
    AmqpAddress,
    LocalAddress,
    PubsubAddress,
    QueueAddress,
    SqsAddress,
)
from runner.queues.credential import AmqpCredential, AwsCredential, Credential, GoogleCredential
from runner.redaction import Secret

_KEY_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"


def opening(
    address: QueueAddress,
    configured: Sequence[Credential],
    environ: Mapping[str, str],
    *,
    wanted: str = "",
) -> Credential | None:
    """Return what opens the queue; ``None``: a local one, which needs nothing.

    What the address itself says counts first, then the configured credentials (``wanted``: only
    the one of this origin or scope), then the environment's own identity. Raises Misconfigured.
    """
    if isinstance(address, LocalAddress):
        return None
    if isinstance(address, AmqpAddress) and address.login:
        return _amqp(address, address.login)
    found = [one for one in configured if address.matches(one) and is_meant(one, wanted)]
    if len({one.scope for one in found}) > 1:
        origins = ", ".join(one.origin for one in found)
        raise Misconfigured(
            f"{address} may be opened with {origins}: say with which one, --credential NAME"
        )
    if found:
        # That queue and no other: it is opened without being listed.
        return replace(found[0], queues=(str(address),))
    if wanted:
        known = ", ".join(one.origin for one in configured) or "none"
        raise Misconfigured(
            f"--credential {wanted!r} is none that opens {address}: give one of those that are "
            f"configured ({known})"
        )
    return _own(address, environ)


def is_meant(credential: Credential, wanted: str) -> bool:
    """Tell whether ``--credential`` means this one; empty means all."""
    return wanted in {"", credential.origin, credential.scope, Path(credential.origin).name}


def _own(address: QueueAddress, environ: Mapping[str, str]) -> Credential:
    """Make a credential of the environment's identity. Raises Misconfigured."""
    match address:
        case SqsAddress():
            return _amazon(address, environ)
        case PubsubAddress():
            return _google(address, environ)
        case AmqpAddress(server=server) if server:
            return _amqp(address, Secret(server))
    raise Misconfigured(
        f"{address} names no server and none is configured: write amqp://HOST/VHOST?QUEUE, or "
        "name the broker with --amqp-url-file"
    )


def _amazon(address: SqsAddress, environ: Mapping[str, str]) -> AwsCredential:
    """Leave the keys to the SDK, which knows variables, profiles, single sign-on and roles."""
    region = address.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION", "")
    if not region and not address.endpoint:
        raise Misconfigured(
            f"{address} names no region: write sqs://REGION/NAME, or set AWS_REGION"
        )
    endpoint = environ.get("AWS_ENDPOINT_URL_SQS") or environ.get("AWS_ENDPOINT_URL", "")
    return AwsCredential(
        broker=SqsAddress.broker,
        scope="aws_environment",
        origin="the environment",
        fingerprint="environment",
        queues=(str(address),),
        region=region or "us-east-1",
        access_key=environ.get("AWS_ACCESS_KEY_ID", ""),
        secret_key=Secret(environ.get("AWS_SECRET_ACCESS_KEY", "")),
        session_token=Secret(environ.get("AWS_SESSION_TOKEN", "")),
        endpoint=address.endpoint or endpoint,
    )


def _google(address: PubsubAddress, environ: Mapping[str, str]) -> GoogleCredential:
    named = environ.get(_KEY_VARIABLE, "")
    key, its_project = _key(Path(named).expanduser()) if named else ("", "")
    project = address.project or environ.get("GOOGLE_CLOUD_PROJECT") or its_project
    if not project:
        raise Misconfigured(
            f"{address} names no project: write pubsub://PROJECT/NAME, or set GOOGLE_CLOUD_PROJECT"
        )
    return GoogleCredential(
        broker=PubsubAddress.broker,
        scope=project,
        origin=_KEY_VARIABLE if key else "the environment",
        fingerprint="environment",
        queues=(str(address),),
        key=Secret(key),
        emulator=environ.get("PUBSUB_EMULATOR_HOST", ""),
    )


def _key(path: Path) -> tuple[str, str]:
    """Return a service account's key and its project; empty for another kind of credential."""
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text)
        is_key = found["type"] == "service_account"
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = getattr(error, "strerror", None) or "it is no credential of Google's"
        raise Misconfigured(f"{_KEY_VARIABLE} is {path}, which cannot be used: {why}") from None
    return (text, str(found.get("project_id", ""))) if is_key else ("", "")


def _amqp(address: AmqpAddress, url: Secret) -> AmqpCredential:
    return AmqpCredential(
        broker=AmqpAddress.broker,
        scope=address.server,
        origin="the address",
        fingerprint="address",
        queues=(str(address),),
        url=url,
    )
