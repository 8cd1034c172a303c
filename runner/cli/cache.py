"""``studio-runner cache``: what is kept of artifacts, whether it is right, and less of it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence

from runner.cache.upkeep import Entry, Upkeep
from runner.cli import show
from runner.cli.arguments import ClientCommand, add_json
from runner.errors import Misconfigured, RunnerError
from runner.model import Bytes
from runner.redaction import Redactor
from runner.request.units import parse_size
from runner.settings import Settings
from runner.settings.parser import Parser

_ABOUT = """Look after the artifact cache, while runners use it or not.

  list      what is kept, the last used first
  verify    compare all contents with their digests; what is damaged and not in use goes
  prune     remove what is not in use; with --keep SIZE the longest unused alone, down to that"""
_SHORT_KEY = 12

Action = Callable[[Upkeep | None, Namespace], int]


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do one of the actions; exit status 1 where something was damaged."""
    command = ClientCommand(
        "cache", _ABOUT, "ACTION", settings=("state_dir", "cache_dir"), arguments=_arguments
    )
    settings, chosen = command.parse(argv, environ)
    try:
        return _ACTIONS[chosen.action](_upkeep(settings), chosen)
    except OSError as error:
        reason = error.strerror or error
        raise RunnerError(f"the cache in {settings.cache_dir} cannot be used: {reason}") from error


def _arguments(parser: Parser) -> None:
    parser.add_argument(
        "action", metavar="ACTION", choices=list(_ACTIONS), help=", ".join(_ACTIONS)
    )
    parser.add_argument(
        "--keep", metavar="SIZE", default="0", help="of what prune leaves (default: 0)"
    )
    add_json(parser)


def _upkeep(settings: Settings) -> Upkeep | None:
    if settings.cache_dir is None:
        raise Misconfigured("there is no cache: --cache-dir is empty")
    return Upkeep.of(settings.cache_dir)


def _list(upkeep: Upkeep | None, chosen: Namespace) -> int:
    entries, used = (upkeep.entries(), upkeep.used()) if upkeep else ([], Bytes(0))
    if chosen.json:
        show.as_json({"used": used, "entries": [_fields(one) for one in entries]})
        return 0
    rows = [_row(one) for one in entries]
    _table("Kept artifacts", ("key", "from", "size", "files", "in use", "used"), rows)
    show.note(f"{len(entries)} kept, {show.size(used)} of the disk used")
    return 0


def _verify(upkeep: Upkeep | None, chosen: Namespace) -> int:
    verdicts = list(upkeep.verify()) if upkeep else []
    damaged = [one for one in verdicts if one.is_damaged]
    if chosen.json:
        show.as_json([{**_fields(one.entry), "result": one.result} for one in verdicts])
    else:
        rows = [(one.entry.key[:_SHORT_KEY], _source(one.entry), one.result) for one in verdicts]
        _table("Checked", ("key", "from", "result"), rows)
        show.note(f"{len(verdicts)} checked, {len(damaged)} damaged")
    return 1 if damaged else 0


def _prune(upkeep: Upkeep | None, chosen: Namespace) -> int:
    try:
        keep = parse_size(chosen.keep)
    except ValueError as error:
        raise Misconfigured(f"--keep is {chosen.keep!r}: give a size such as 10gb") from error
    removed = freed = in_use = 0
    if upkeep:
        before = upkeep.used()
        removed = upkeep.prune(keep)
        freed = max(0, before - upkeep.used())
        in_use = sum(one.in_use for one in upkeep.entries())
    if chosen.json:
        show.as_json({"removed": removed, "freed": freed, "in_use": in_use})
    else:
        print(f"{removed} removed, {show.size(freed)} freed; {in_use} in use")
    return 0


def _fields(entry: Entry) -> dict[str, object]:
    about = entry.manifest
    return {
        "key": entry.key,
        "from": _source(entry),
        "bytes": entry.bytes,
        "content": about.bytes if about else None,
        "files": about.members if about else None,
        "object": about.size if about else None,
        "digest": about.digest if about else None,
        "fetched": about.fetched if about else None,
        "used": entry.used,
        "in_use": entry.in_use,
    }


def _row(entry: Entry) -> tuple[object, ...]:
    return (
        entry.key[:_SHORT_KEY],
        _source(entry),
        show.size(entry.bytes),
        entry.manifest.members if entry.manifest else "",
        "yes" if entry.in_use else "no",
        show.since(entry.used),
    )


def _source(entry: Entry) -> str:
    return Redactor().redact(entry.manifest.source) if entry.manifest else "?"


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if rows:
        show.table(title, columns, rows)


_ACTIONS: Mapping[str, Action] = {"list": _list, "verify": _verify, "prune": _prune}
