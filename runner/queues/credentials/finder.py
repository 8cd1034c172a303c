"""One look at everything that leads to credentials: the whole set, and what is wrong. It blocks."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.errors import Misconfigured
from runner.queues.addresses import AmqpAddress, LocalAddress
from runner.queues.credentials import amqp_url
from runner.queues.credentials.ambient import Ambient
from runner.queues.credentials.choosing import Chosen, choose
from runner.queues.credentials.contents import Contents, Trouble
from runner.queues.credentials.directory import ALL_FORMS, Directory, Read, taking
from runner.queues.credentials.finding import BadCredential, Found
from runner.queues.credentials.forms import Form
from runner.queues.credentials.sources import Sources
from runner.redaction import Secret

_KEPT = "what it said before stays in use"


@dataclass(frozen=True, slots=True)
class _Made:
    """What was made of the files of one directory."""

    files: Mapping[str, str]
    found: tuple[Found, ...]
    troubles: tuple[Trouble, ...]


@dataclass(slots=True)
class _Root:
    contents: Contents
    #: Of the directory that the contents lie in.
    directory: str
    forms: frozenset[Form]
    version: int = -1
    #: By directory.
    read: dict[str, _Made] = field(default_factory=dict)
    found: tuple[Found, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    #: The files that credentials were made of.
    used: set[str] = field(default_factory=set)
    #: What was last made of each group of files, while it could be used.
    good: dict[str, Read] = field(default_factory=dict)


class Finder:
    """Remembers between two looks what is needed for the next. Used by one thread at a time."""

    def __init__(self, sources: Sources, environ: Mapping[str, str] = os.environ) -> None:
        """Raises Misconfigured for an option that cannot be used."""
        self._sources = sources
        quiet = sources.quiet.total_seconds()
        self._roots = [
            _Root(Contents(str(path), quiet), str(path), forms) for path, forms in _places(sources)
        ]
        self._options = _of_options(sources)
        self._ambient = Ambient(sources, environ)
        #: What the last choice was made of, and the troubles that came with it.
        self._seen: tuple[object, ...] = ()
        self._misread: tuple[Trouble, ...] = ()
        self.chosen = Chosen()
        self.troubles: tuple[Trouble, ...] = ()
        self.exposed: frozenset[str] = frozenset()
        #: Everything that must not be shown, of what is not used as well.
        self.secrets: frozenset[Secret] = frozenset()

    def look(self, now: float, wall: float, refused: Collection[str] = ()) -> Chosen:
        """Look at all; ``now`` is steady, ``wall`` the time of day, both in seconds."""
        for root in self._roots:
            root.contents.look(now, wall)
            if root.version != root.contents.version:
                self._read(root)
        ambient, missing = self._ambient.look(now)
        accounts = tuple(one.credential for one in ambient)
        seen = (accounts, len(refused), *(root.version for root in self._roots))
        if seen != self._seen:
            self._seen = seen
            self._choose(ambient, refused)
        looked_at = (trouble for root in self._roots for trouble in root.contents.troubles)
        self.troubles = tuple(dict.fromkeys([*looked_at, *missing, *self._misread]))
        self.exposed = frozenset(
            path for root in self._roots for path in root.contents.exposed & root.used
        )
        return self.chosen

    def _choose(self, ambient: Iterable[Found], refused: Collection[str]) -> None:
        found = [*self._options, *(one for root in self._roots for one in root.found), *ambient]
        found, unmatched = self._with_named(found)
        self.secrets = frozenset(secret for one in found for secret in one.secrets)
        self.chosen = choose(found, self.chosen, refused)
        misread = (trouble for root in self._roots for trouble in root.troubles)
        self._misread = (*misread, *unmatched, *self.chosen.troubles)

    @property
    def waits(self) -> bool:
        """Tell whether a file is about to settle."""
        return any(root.contents.waits for root in self._roots)

    def _read(self, root: _Root) -> None:
        base, texts = root.directory, root.contents.texts
        if texts.keys() == {base}:  # the root is a file itself
            base = os.path.dirname(base)  # noqa: PTH120 - strings all along
        directories: dict[str, dict[str, str]] = {}
        for path, text in sorted(texts.items()):
            directories.setdefault(os.path.dirname(path), {})[path] = text  # noqa: PTH120 - likewise
        before = root.read
        root.read = {}
        for where, files in sorted(directories.items()):
            known = before.get(where)
            if known is None or known.files != files:
                directory = Directory(base, where, self._sources)
                known = _Made(files, *_made(root, directory, files))
            root.read[where] = known
        for path in [p for p, read in root.good.items() if not read.files & texts.keys()]:
            del root.good[path]
        root.found = tuple(one for made in root.read.values() for one in made.found)
        root.troubles = tuple(one for made in root.read.values() for one in made.troubles)
        root.used = set(itertools.chain.from_iterable(one.files for one in root.found))
        root.version = root.contents.version

    def _with_named(self, found: list[Found]) -> tuple[list[Found], list[Trouble]]:
        """Give each credential the queues that ``--queue`` names and that it opens."""
        troubles = []
        for address in self._sources.queues:
            if isinstance(address, LocalAddress):
                continue
            takes = [address.matches(one.credential) for one in found]
            if not any(takes):
                sentence = f"no credential opens {address} so far: put one into --certs-dir"
                troubles.append(Trouble("--queue", sentence, str(address)))
            found = [
                taking(one, (str(address),)) if taken else one
                for one, taken in zip(found, takes, strict=True)
            ]
        return found, troubles


def _made(
    root: _Root, directory: Directory, files: Mapping[str, str]
) -> tuple[tuple[Found, ...], tuple[Trouble, ...]]:
    for path, text in files.items():
        directory.add(path, text)
    found: list[Found] = []
    troubles: list[Trouble] = []
    for path, read in directory.groups(root.forms):
        used = _usable(root, path, read)
        kept = f"; {_KEPT}" if used is not read else ""
        version = tuple(files.get(file, "") for file in sorted(read.files))
        troubles += [Trouble(path, wrong + kept, hash(version)) for wrong in read.wrong]
        found += (_dated(one, root.contents) for one in used.found)
    if root.forms != ALL_FORMS:
        return tuple(found), tuple(troubles)
    taken, wrong = directory.with_queues(tuple(found))
    return taken, (*troubles, *wrong)


def _usable(root: _Root, path: str, read: Read) -> Read:
    """Return what is used of a group: while it is written badly, what it said before.

    A credential whose files are gone is removed; one that cannot be understood any more is not.
    """
    if read.found or not read.wrong:
        root.good[path] = read
        return read
    before = root.good.get(path)
    if before is not None and before.files <= root.contents.texts.keys():
        return before
    root.good.pop(path, None)
    return read


def _dated(found: Found, contents: Contents) -> Found:
    stamps = (contents.stamps.get(path) for path in found.files)
    return replace(found, written=max((one.mtime_ns for one in stamps if one), default=0))


def _places(sources: Sources) -> list[tuple[Path, frozenset[Form]]]:
    places = [
        (sources.certs_dir, ALL_FORMS),
        (sources.google_certs, frozenset({Form.GOOGLE})),
        (sources.sqs_certs, frozenset({Form.AWS})),
        (sources.google_key, frozenset({Form.GOOGLE})),
    ]
    return [(path, forms) for path, forms in places if path is not None]


def _of_options(sources: Sources) -> list[Found]:
    """Return what options alone give. Raises Misconfigured."""
    found = []
    if sources.amqp_url:
        url, management = sources.amqp_url.reveal(), sources.amqp_management_url.reveal()
        found.append(_of_option("--amqp-url", url, management))
    known = {one.credential.scope for one in found}
    for address in sources.queues:
        if isinstance(address, AmqpAddress) and address.login and address.server not in known:
            found.append(_of_option("--queue", address.login.reveal(), ""))
            known.add(address.server)
    return found


def _of_option(option: str, url: str, management: str) -> Found:
    try:
        return amqp_url.read(url, option, management_url=management)
    except BadCredential as error:
        raise Misconfigured(f"{option} {error}") from None


def found_now(sources: Sources, environ: Mapping[str, str] = os.environ) -> Finder:
    """Look once, for a command: what lies there counts as it is. Raises Misconfigured; blocks."""
    finder = Finder(replace(sources, quiet=sources.quiet * 0), environ)
    finder.look(time.monotonic(), time.time())
    return finder
