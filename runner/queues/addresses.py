"""Names of queues as people write them: read, written again, matched with credentials. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import quote, unquote, urlsplit

from runner.errors import Misconfigured
from runner.queues.credential import AmqpCredential, AwsCredential, Credential, GoogleCredential
from runner.redaction import MASK, Secret

#: What is accepted, for errors and help.
FORMS = (
    "local://NAME, sqs://[REGION/[ACCOUNT/]]NAME, https://sqs.REGION.amazonaws.com/ACCOUNT/NAME, "
    "pubsub://[PROJECT/]SUBSCRIPTION, projects/PROJECT/subscriptions/SUBSCRIPTION, "
    "amqp://[USER:PASSWORD@]HOST[:PORT]/VHOST?QUEUE, or rabbitmq://NAME"
)
_LONGEST_SHOWN = 200
_AMQP_PORTS = {"amqp": 5672, "amqps": 5671}
_LONGEST_AMQP_NAME = 255

_AMAZON = re.compile(
    r"(?:[\w-]+\.)?sqs(?:-fips)?\.(?P<region>[a-z]{2}[a-z0-9-]+)\.(?:vpce\.)?amazonaws\.com(\.cn)?"
    r"|(?P<legacy>[a-z]{2}[a-z0-9-]+)\.queue\.amazonaws\.com(\.cn)?"
)
_SQS_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo")
_REGION = re.compile(r"[a-z][a-z0-9-]{1,40}")
_ACCOUNT = re.compile(r"\d{12}")
_PUBSUB_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
_PROJECT = re.compile(r"[a-z][a-z0-9.:-]{2,100}")


class _Unreadable(ValueError):
    """The text names no queue; the message says what is wrong where that is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueAddress:
    """A queue that somebody named; ``str`` writes it so that ``parse`` reads the same again.

    Whatever the writer left out is the credential's to say.
    """

    #: Registry name of the backend.
    broker: ClassVar[str]
    #: Short name, as clients write it.
    name: str

    def __str__(self) -> str:
        return f"{self.broker}://{self.name}"

    def matches(self, credential: Credential) -> bool:
        """Tell whether the credential may open the queue: same broker, nothing that contradicts."""
        return credential.broker == self.broker


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalAddress(QueueAddress):
    """A queue below ``--queue-root``; no credential opens it."""

    broker: ClassVar[str] = "local"


@dataclass(frozen=True, kw_only=True, slots=True)
class SqsAddress(QueueAddress):
    """A queue of Amazon's, or of a server that speaks as Amazon does."""

    broker: ClassVar[str] = "sqs"
    region: str = ""
    #: Whose queue it is; empty: the credential's own account.
    account: str = ""
    #: ``http[s]://HOST[:PORT]`` of another server; empty: Amazon's, or the credential's.
    endpoint: str = ""

    def __str__(self) -> str:
        if self.endpoint:
            return f"{self.endpoint}/{self.account}/{self.name}"
        return "sqs://" + "/".join(one for one in (self.region, self.account, self.name) if one)

    def matches(self, credential: Credential) -> bool:
        """Compare region and server: a request signed for one is never sent to another."""
        if not isinstance(credential, AwsCredential):
            return False
        if self.endpoint and _endpoint(credential.endpoint) != self.endpoint:
            return False
        return self.region in {"", credential.region}


@dataclass(frozen=True, kw_only=True, slots=True)
class PubsubAddress(QueueAddress):
    """A subscription of Google Pub/Sub."""

    broker: ClassVar[str] = "pubsub"
    #: Project id; empty: the credential's.
    project: str = ""

    def __str__(self) -> str:
        return "pubsub://" + "/".join(one for one in (self.project, self.name) if one)

    def matches(self, credential: Credential) -> bool:
        """Compare the project."""
        if not isinstance(credential, GoogleCredential):
            return False
        return self.project in {"", credential.project}


@dataclass(frozen=True, kw_only=True, slots=True)
class AmqpAddress(QueueAddress):
    """A queue of a RabbitMQ virtual host."""

    broker: ClassVar[str] = "rabbitmq"
    #: Host, port and virtual host in the form of ``server_of``; empty: the configured ones.
    server: str = ""
    #: The server's URL with user and password, where they were written; else empty.
    login: Secret = field(default_factory=Secret, compare=False)

    def __str__(self) -> str:
        if not self.server:
            return f"rabbitmq://{quote(self.name, safe='')}"
        return f"{self.server}?{quote(self.name, safe='')}"

    def matches(self, credential: Credential) -> bool:
        """Compare host, port and virtual host; who logs in does not matter."""
        if not isinstance(credential, AmqpCredential):
            return False
        try:
            return not self.server or server_of(credential.url.reveal()) == self.server
        except ValueError:
            return False


def parse(text: str, *, plain: str = "local", option: str = "--queue") -> QueueAddress:
    """Read the name of a queue; a bare name is one of the broker ``plain``.

    ``option`` says in errors where it was written; they show no password. Raises Misconfigured.
    """
    text = text.strip()
    try:
        if not text.isprintable():
            raise _Unreadable
        return _read(text, plain)
    except ValueError as error:  # also urlsplit's, for a port that is none
        # Nothing that is chained may show the text: it can hold a password.
        why = f" {error}:" if isinstance(error, _Unreadable) and str(error) else ""
        raise Misconfigured(f"{option} is {_shown(text)!r}:{why} write {FORMS}") from None


def address_of(credential: Credential, name: str) -> QueueAddress:
    """Return the address of a queue that a credential shows; it matches that credential."""
    match credential:
        case AwsCredential(region=region):
            return SqsAddress(name=name, region=region)
        case GoogleCredential(project=project):
            return PubsubAddress(name=name, project=project)
        case AmqpCredential(url=url):
            return AmqpAddress(name=name, server=server_of(url.reveal()))
    raise TypeError(f"no queue is known by a {type(credential).__name__}")


def server_of(url: str) -> str:
    """Return ``amqp[s]://HOST:PORT/VHOST`` of a broker's URL: one text for one virtual host.

    Raises ValueError, whose text shows nothing of the URL.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _Unreadable from None
    if parts.scheme not in _AMQP_PORTS or not parts.hostname:
        raise _Unreadable
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = _port(parts.netloc) or _AMQP_PORTS[parts.scheme]
    virtual_host = unquote(parts.path[1:], errors="strict") or "/"
    return f"{parts.scheme}://{host}:{port}/{quote(virtual_host, safe='')}"


def _read(text: str, plain: str) -> QueueAddress:
    if text.startswith("projects/"):
        return _resource(text)
    scheme, parted, rest = text.partition("://")
    if not parted:
        scheme, rest = plain, text
    reader = _READERS.get(scheme.lower())
    if reader is None:
        raise _Unreadable
    return reader(scheme.lower(), rest)


def _local(_: str, rest: str) -> LocalAddress:
    if not rest or rest.startswith(".") or "/" in rest:
        raise _Unreadable("a local queue has one visible name, without '/'")
    return LocalAddress(name=rest)


def _sqs(_: str, rest: str) -> SqsAddress:
    *scope, name = rest.split("/")
    region = scope.pop(0) if scope and _REGION.fullmatch(scope[0]) else ""
    account = scope.pop(0) if scope and _ACCOUNT.fullmatch(scope[0]) else ""
    if scope or not _SQS_NAME.fullmatch(name):
        raise _Unreadable
    return SqsAddress(name=name, region=region, account=account)


def _sqs_url(scheme: str, rest: str) -> SqsAddress:
    host, _, path = rest.partition("/")
    account, _, name = path.partition("/")
    if not _ACCOUNT.fullmatch(account) or not _SQS_NAME.fullmatch(name):
        raise _Unreadable
    if amazon := _AMAZON.fullmatch(host.lower()):
        region = amazon["region"] or amazon["legacy"]
        return SqsAddress(name=name, region=region, account=account)
    endpoint = _endpoint(f"{scheme}://{host}")
    if "@" in host or not endpoint:
        raise _Unreadable
    return SqsAddress(name=name, account=account, endpoint=endpoint)


def _pubsub(_: str, rest: str) -> PubsubAddress:
    project, parted, name = rest.rpartition("/")
    if not _PUBSUB_NAME.fullmatch(name) or (parted and not _PROJECT.fullmatch(project)):
        raise _Unreadable
    return PubsubAddress(name=name, project=project)


def _resource(text: str) -> PubsubAddress:
    kind, _, name = text.removeprefix("projects/").partition("/")[2].partition("/")
    if kind == "topics":
        raise _Unreadable("that is a topic, and queues are subscriptions")
    if kind != "subscriptions":
        raise _Unreadable
    return _pubsub("", f"{text.split('/')[1]}/{name}")


def _rabbitmq(_: str, rest: str) -> AmqpAddress:
    if "/" in rest or "@" in rest:
        raise _Unreadable
    return AmqpAddress(name=_amqp_name(rest))


def _amqp(scheme: str, rest: str) -> AmqpAddress:
    """Read ``<url>?<queue>``, as protocol section 3.4 writes it, or ``<url>/<queue>``."""
    url, parted, queue = f"{scheme}://{rest}".partition("?")
    if not parted:
        url, _, queue = url.rpartition("/")
        if url.count("/") < 3:  # noqa: PLR2004 - two of the scheme, one before the virtual host
            raise _Unreadable("the name of the queue is missing")
    if set("=&#/") & set(queue):
        raise _Unreadable("what follows the ? must be the queue's name alone, percent-encoded")
    login = Secret(url) if "@" in urlsplit(url).netloc else Secret()
    return AmqpAddress(name=_amqp_name(queue), server=server_of(url), login=login)


def _amqp_name(written: str) -> str:
    name = unquote(written, errors="strict")
    if not name or not name.isprintable() or len(name.encode()) > _LONGEST_AMQP_NAME:
        raise _Unreadable
    return name


def _endpoint(url: str) -> str:
    """Write ``http[s]://host[:port]`` in one way; empty for what has no host."""
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    if not parts.hostname or usual is None:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = _port(parts.netloc)
    return f"{parts.scheme}://{host}" + (f":{port}" if port and port != usual else "")


def _port(netloc: str) -> int | None:
    """Return the port. Raises ValueError, without what was written: it may be of a password."""
    try:
        return urlsplit(f"//{netloc}").port
    except ValueError:
        raise _Unreadable("the port is no number between 0 and 65535") from None


def _shown(text: str) -> str:
    """Return what may be shown: without user and password, and without a query that may sign."""
    scheme, parted, rest = text.partition("://") if "://" in text else ("", "", text)
    login, at, rest = rest.rpartition("@")
    if not scheme.lower().startswith("amqp"):
        rest, asked, _ = rest.partition("?")
        rest += f"?{MASK}" if asked else ""
    shown = f"{scheme}{parted}{MASK if login else ''}{at}{rest}"
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"


_READERS: Mapping[str, Callable[[str, str], QueueAddress]] = {
    "local": _local,
    "sqs": _sqs,
    "http": _sqs_url,
    "https": _sqs_url,
    "pubsub": _pubsub,
    "rabbitmq": _rabbitmq,
    "rmq": _rabbitmq,
    "amqp": _amqp,
    "amqps": _amqp,
}
