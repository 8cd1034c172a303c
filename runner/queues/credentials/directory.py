"""What the files of one directory are together: credentials, their queues, and troubles. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.errors import Misconfigured
from runner.queues import addresses
from runner.queues.credential import Credential
from runner.queues.credentials import amqp_url, aws_profiles, google_key
from runner.queues.credentials.amqp_url import lines_of
from runner.queues.credentials.contents import Trouble
from runner.queues.credentials.finding import BadCredential, Found, marked
from runner.queues.credentials.forms import Form, form_of
from runner.queues.credentials.sources import Sources

ALL_FORMS = frozenset({Form.GOOGLE, Form.AWS, Form.AMQP})
_KNOWN = (
    "is no credential of a known form: a Google key file (JSON), AWS profiles with a region, or a "
    "RabbitMQ URL; see certs.example, or let its name begin with a dot"
)
#: Directories of these names only sort others.
_SHELVES = frozenset({"aws", "sqs"})
#: What of a profile, or another file of keys, that lies in the place of a list: names with such
#: characters are written as addresses, where they are escaped.
_NO_NAME = re.compile(r"[\s=]")


@dataclass(frozen=True, slots=True)
class Read:
    """What was made of some files."""

    found: tuple[Found, ...]
    wrong: tuple[str, ...]
    files: frozenset[str]


@dataclass(slots=True)
class Directory:
    """The files of one directory below ``root``, by form."""

    root: str
    path: str
    sources: Sources
    texts: dict[Form, dict[str, str]] = field(default_factory=dict)

    def add(self, path: str, text: str) -> None:
        """Add a file."""
        self.texts.setdefault(form_of(path, text), {})[path] = text

    def of(self, form: Form) -> Mapping[str, str]:
        """Return the files of a form."""
        return self.texts.get(form, {})

    def groups(self, forms: frozenset[Form]) -> Iterator[tuple[str, Read]]:
        """Yield what belongs together, by the path that it is known by."""
        if Form.GOOGLE in forms:
            yield from ((path, self._google(path, text)) for path, text in self._all(Form.GOOGLE))
        if Form.AMQP in forms:
            yield from ((path, self._amqp(path, text)) for path, text in self._all(Form.AMQP))
        if Form.AWS in forms and self.of(Form.AWS):
            yield from self._aws()
        if forms == ALL_FORMS:
            for path, _ in self._all(Form.UNKNOWN):
                yield path, Read((), (_KNOWN,), frozenset({path}))

    def _all(self, form: Form) -> list[tuple[str, str]]:
        return sorted(self.of(form).items())

    def _google(self, path: str, text: str) -> Read:
        try:
            found = google_key.read(
                path,
                text,
                self._origin(path),
                emulator=self.sources.pubsub_emulator,
            )
        except BadCredential as error:
            return Read((), (str(error),), frozenset({path}))
        return Read((found,), (), frozenset({path}))

    def _amqp(self, path: str, text: str) -> Read:
        lines = lines_of(text)
        authorities = self._all(Form.AUTHORITIES)
        files = frozenset({path, *(one for one, _ in authorities[:1])})
        if len(lines) > 2:  # noqa: PLR2004 - the broker's and the management interface's
            return Read((), ("has more than two lines: one secret per file",), files)
        try:
            found = amqp_url.read(
                lines[0],
                self._origin(path),
                management_url=lines[1] if len(lines) > 1 else "",
                authorities=authorities[0] if authorities else None,
                files=files,
            )
        except BadCredential as error:
            return Read((), (str(error),), files)
        return Read((found,), (), files)

    def _aws(self) -> Iterator[tuple[str, Read]]:
        """Yield one group for a directory; in the root itself, one for each file with keys."""
        keyed: dict[str, aws_profiles.Sections] = {}
        others: dict[str, aws_profiles.Sections] = {}
        wrong: list[str] = []
        for path, text in self._all(Form.AWS):
            try:
                sections = aws_profiles.sections_of(text)
            except BadCredential as error:
                wrong.append(f"{os.path.basename(path)} {error}")  # noqa: PTH119 - strings all along
                continue
            (keyed if aws_profiles.has_keys(sections) else others)[path] = sections
        if self.path == self.root and len(keyed) > 1:
            for path, sections in keyed.items():
                yield path, self._profiles({path: sections}, others, path, wrong)
        elif len(keyed) > 1:
            names = ", ".join(map(os.path.basename, keyed))
            several = f"has keys in several files ({names}): one secret per directory"
            yield self.path, Read((), (several,), frozenset({*keyed, *others}))
        else:
            yield self.path, self._profiles(keyed, others, self.path, wrong)

    def _profiles(
        self,
        keyed: Mapping[str, aws_profiles.Sections],
        others: Mapping[str, aws_profiles.Sections],
        path: str,
        wrong: list[str],
    ) -> Read:
        files = frozenset({*self.of(Form.AWS), *self.of(Form.PROFILES)})
        if path != self.path:
            files = frozenset({path, *others, *self.of(Form.PROFILES)})
        if wrong:
            return Read((), tuple(wrong), files)
        found, missing = aws_profiles.read(
            aws_profiles.merged([*others.values(), *keyed.values()]),
            [line for text in self.of(Form.PROFILES).values() for line in lines_of(text)],
            scope=self._aws_scope(path),
            origin=self._origin(path),
            files=files,
            endpoint=self.sources.aws_endpoint,
        )
        return Read(tuple(found), tuple(missing), files)

    def _aws_scope(self, path: str) -> str:
        """Return ``aws_`` and the directory's name: protocol section 3.5."""
        parts = list(Path(os.path.relpath(path, self.root)).parts)
        if not parts:
            parts = [os.path.basename(self.root)]  # noqa: PTH119 - strings all along
        elif path != self.path:
            parts[-1] = os.path.splitext(parts[-1])[0]  # noqa: PTH122 - likewise
        elif len(parts) > 1 and parts[0] in _SHELVES:
            del parts[0]
        return aws_profiles.named_scope("aws", *parts)

    def _origin(self, path: str) -> str:
        relative = os.path.relpath(path, self.root)
        return os.path.basename(path) if relative == "." else relative  # noqa: PTH119 - likewise

    def with_queues(self, found: tuple[Found, ...]) -> tuple[tuple[Found, ...], list[Trouble]]:
        """Return the credentials with what the file ``queues`` beside them names."""
        troubles, named = [], list(found)
        for path, text in self._all(Form.QUEUES):
            for number, line in enumerate(text.splitlines(), 1):
                if lines_of(line):
                    named, trouble = _named(named, line.strip())
                    wrong = f"line {number} {trouble}"
                    troubles += [Trouble(path, wrong, hash(text))] if trouble else []
        return tuple(named), troubles


def _named(found: list[Found], line: str) -> tuple[list[Found], str]:
    """Return the credentials with the queue that a line names, and what is wrong with the line.

    What is no queue is not repeated: it may be a secret that was put into the wrong file.
    """
    is_bare = "://" not in line and not line.startswith("projects/")
    if not found:
        return [], "stands beside no credential that opens its queues"
    if is_bare and _NO_NAME.search(line):
        return found, f"names no queue: write {addresses.FORMS}"
    named, takers, shown = [], 0, ""
    for one in found:
        try:
            address = addresses.parse(line, plain=one.credential.broker)
        except Misconfigured:
            named.append(one)
            continue
        takes, shown = address.matches(one.credential), str(address)
        takers += takes
        written = address.name if is_bare else shown
        named.append(taking(one, (written,)) if takes else one)
    if not takers and not shown:
        return named, f"names no queue: write {addresses.FORMS}"
    return named, "" if takers else f"names {shown}, which no credential beside it opens"


def taking(found: Found, queues: tuple[str, ...]) -> Found:
    """Return what was found with further queues that are taken without being listed."""
    before: Credential = found.credential
    together = tuple(dict.fromkeys((*before.queues, *queues)))
    if together == before.queues:
        return found
    # The fingerprint so far stands for what the fields alone do not tell.
    more = replace(before, queues=together)
    return replace(found, credential=marked(more, before.fingerprint))
