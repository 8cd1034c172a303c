"""``studio-runner doctor``: what works here, what does not, and the command that mends it."""

from __future__ import annotations

import os
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from runner import __version__, log
from runner.cli import show, stores
from runner.cli.arguments import ClientCommand, add_json
from runner.client import bucket
from runner.doctor.check import Check, document, exit_status
from runner.doctor.examination import Examination, Subject
from runner.doctor.patient import Bucket, admitted
from runner.doctor.subjects import NAMES, subjects
from runner.errors import Misconfigured
from runner.model import StoreConfig
from runner.redaction import Redactor
from runner.service.variables import of_service
from runner.settings import OPTIONS, Settings
from runner.settings.parser import Parser

_ABOUT = """\
Look at everything that a daemon with these options would depend on: each credential, queue, store,
the environment builder, the sandbox, cards, clock, disk, kernel, news. No message is taken from
anybody, and a daemon that runs is not disturbed. Run it as the daemon's user, with its options.

Exit status: 0 when all is well or there are only warnings, else that of the first class that
something failed in: settings 2, credentials 10, queues 11, stores 12, environment 13, sandbox 14,
gpu 15, host 16, news 17. docs/doctor.md says what is looked at."""
_USAGE = "[--service] [--json] [--write] [--store …] [NAME…] [OPTION…]"
_GOOGLE = "gs://"
_SERVICE = "--service"
#: Seconds for a thread that has nothing more to do.
_LAST_WAIT = 0.5


@dataclass(frozen=True, slots=True)
class _Asked:
    """What somebody wants looked at."""

    settings: Settings
    environ: Mapping[str, str]
    names: Sequence[str]
    may_write: bool
    buckets: tuple[Bucket, ...]

    async def examine(
        self, told: Callable[[Check], None], over: Callable[[Subject], None] = lambda _: None
    ) -> None:
        """Look at it. Raises Misconfigured for a name of nothing."""
        patient = await admitted(
            self.settings, self.environ, may_write=self.may_write, buckets=self.buckets
        )
        await Examination(subjects(patient, self.names), told, patient.redactor, over).run()


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Look, tell, and return the exit status of what was found."""
    command = ClientCommand(
        "doctor",
        _ABOUT,
        _USAGE,
        settings=tuple(OPTIONS),
        client_keys=stores.KEYS,
        arguments=_arguments,
    )
    shell = dict(environ)
    if _SERVICE in argv:
        service = of_service()
        argv = [*service.options, *argv]
        environ = _lived_in(service.environment(shell), environ)
    settings, chosen = command.parse(argv, environ)
    # What a backend has to say beside its errors is no part of the result.
    log.configure(level="critical", form="text", redactor=Redactor(), environ=environ)
    asked = _asked(settings, chosen, environ, shell)
    if chosen.json:
        found: list[Check] = []
        anyio.run(asked.examine, found.append)
        show.as_json(document(found, version=__version__))
        return ended(exit_status(found))
    # Imported late: a script shall not wait for rich.
    from runner.cli.doctor_lines import Lines  # noqa: PLC0415

    lines = Lines()
    with lines.waiting() as over:
        anyio.run(asked.examine, lines.told, over)
    lines.sum_up()
    return ended(exit_status(lines.found))


def ended(status: int) -> int:
    """Return the status; end at once where Python would wait for a thread that hangs."""
    threads = set(threading.enumerate()) - {threading.current_thread()}
    for thread in threads:
        thread.join(_LAST_WAIT)
    if any(thread.is_alive() and not thread.daemon for thread in threads):
        sys.stdout.flush()
        os._exit(status)
    return status


def _lived_in(service: Mapping[str, str], environ: Mapping[str, str]) -> Mapping[str, str]:
    """Make the service's environment our own: brokers' and stores' SDKs look there for proxies."""
    if environ is os.environ:
        os.environ.clear()
        os.environ.update(service)
    return service


def _arguments(parser: Parser) -> None:
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help=f"look at these alone: {', '.join(NAMES)}"
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="also write, read and delete a tiny object in each store, and send news",
    )
    parser.add_argument(
        _SERVICE,
        action="store_true",
        help="look with the options and the environment that the installed systemd service has",
    )
    stores.add_options(parser, "every --local-store-root; gs://BUCKET is taken as well")
    add_json(parser)


def _asked(
    settings: Settings, chosen: Namespace, environ: Mapping[str, str], shell: Mapping[str, str]
) -> _Asked:
    """Read the arguments; keys of a store may be in the ``shell``. Raises Misconfigured."""
    named = stores.chosen_store(chosen, shell)
    buckets: tuple[Bucket, ...] = ()
    if bucket.is_bucket(named):
        buckets = tuple(_buckets(named, settings, chosen, shell))
    elif named:
        root = Path(named).expanduser().absolute()
        roots = tuple(dict.fromkeys((*settings.local_store_root, root)))
        settings = replace(settings, local_store_root=roots)
    return _Asked(settings, environ, chosen.names, chosen.write, buckets)


def _buckets(
    named: str, settings: Settings, chosen: Namespace, environ: Mapping[str, str]
) -> Iterator[Bucket]:
    """Read ``--store``, with ``--store-records`` beside it. Raises Misconfigured."""
    if named.startswith(_GOOGLE):
        name = named.removeprefix(_GOOGLE).rstrip("/")
        if not name or "/" in name:
            raise Misconfigured(f"--store is {named!r}: write gs://BUCKET")
        yield Bucket(named, "gs", "", name, StoreConfig())
        return
    found = bucket.bucket_of(
        named,
        environ,
        keys_file=Path(chosen.store_keys).expanduser() if chosen.store_keys else None,
        records=chosen.store_records or "",
        clear_text=settings.s3_http_hosts,
    )
    host = found.location("").host
    for name in filter(None, (found.name, found.records)):
        config = replace(found.config, bucket=name)
        yield Bucket(f"s3://{host}/{name}", "s3", host, name, config)
