"""Merges flags, environment and file by precedence, and turns each text into its value."""

from __future__ import annotations

import itertools
import os
from argparse import Namespace
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.errors import Misconfigured
from runner.redaction import Secret
from runner.settings import OPTIONS, Settings
from runner.settings.logxi import translated
from runner.settings.option import Option, variables
from runner.settings.origins import Origin, Source
from runner.settings.parser import FILE_SUFFIX, Parser, doubled_dashes, refuse_unknown
from runner.settings.places import Places


@dataclass(frozen=True, slots=True)
class _Given:
    """What somebody wrote for an option, and where."""

    texts: tuple[str, ...]
    origin: Origin
    #: The file that a ``--NAME-file`` names.
    file: Path | None = None


def read(
    parser: Parser,
    argv: Sequence[str],
    environ: Mapping[str, str],
    only: Collection[str] | None = None,
) -> tuple[Settings, Namespace]:
    """Return the settings and the parser's own arguments; options outside ``only`` get defaults.

    Raises Misconfigured.
    """
    active = {f: o for f, o in OPTIONS.items() if only is None or f in only}
    names = {name for o in active.values() for name in o.names}
    effective, written_as = _effective(active.values(), environ)
    namespace, unknown = parser.parse_known_args(doubled_dashes(argv, names), env_vars=effective)
    refuse_unknown(unknown, parser)
    origins = _origins(parser, written_as)
    values, more = _evaluate(active, namespace, origins, environ)
    return Settings(**values, **more), namespace


def _effective(
    options: Collection[Option], environ: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Choose the variable that counts for each option: prefixed, else bare, else an alias."""
    effective: dict[str, str] = {}
    written_as: dict[str, str] = {}
    wanted: list[tuple[str, tuple[str, ...], bool]] = [("config", ("config",), False)]
    for found in options:
        wanted.append((found.name, found.names, found.kind.empty))
        if found.file_form:
            wanted.append((found.name + FILE_SUFFIX, (found.name + FILE_SUFFIX,), False))
    for name, names, empty in wanted:
        for variable in (v for n in names for v in variables(n)):
            if variable in environ and (environ[variable] or empty):
                effective[variables(name)[1]] = environ[variable]
                written_as[variables(name)[1]] = variable
                break
    for name, (variable, value) in translated(environ).items():
        if variables(name)[1] not in effective:
            effective[variables(name)[1]] = value
            written_as[variables(name)[1]] = variable
    return effective, written_as


def _origins(parser: Parser, written_as: Mapping[str, str]) -> dict[str, Origin]:
    """Return where configargparse found each destination; those it does not name are flags."""
    found: dict[str, Origin] = {}
    for source, settings in parser.get_source_to_settings_dict().items():
        for key, (action, _) in settings.items():
            if source == "environment_variables":
                found[action.dest] = Origin(Source.ENVIRONMENT, written_as[key])
            elif source.startswith("config_file|"):
                path = source.partition("|")[2]
                found[action.dest] = Origin(Source.FILE, f"{path}, key {key}")
    return found


def _evaluate(
    active: Mapping[str, Option],
    namespace: Namespace,
    origins: Mapping[str, Origin],
    environ: Mapping[str, str],
) -> tuple[dict[str, Any], dict[str, Any]]:
    values: dict[str, Any] = {}
    sources: dict[str, Origin] = {}
    notes: list[str] = []
    files: list[Path] = []
    places = Places(environ, root=os.geteuid() == 0, values=values)
    for field, found in OPTIONS.items():
        given = _given(found, namespace, origins) if field in active else None
        if given is None:
            texts = (found.default_text(places),) if found.default_text(places) else ()
            given = _Given(texts, Origin(Source.DEFAULT))
        else:
            notes.extend(_notes(found, given.origin))
            files.extend(_files(found, given))
        values[field] = _value(found, given, environ)
        sources[field] = given.origin
    return values, {"origins": sources, "notes": tuple(notes), "secret_files": tuple(files)}


def _files(found: Option, given: _Given) -> Iterator[Path]:
    """Yield the files that are to be kept from others because of this value."""
    if given.file is not None:
        yield given.file
    elif found.secret and given.origin.source is Source.FILE:
        yield Path(given.origin.name.partition(", key ")[0])


def _given(found: Option, namespace: Namespace, origins: Mapping[str, Origin]) -> _Given | None:
    plain = _taken(found.field, found.name, namespace, origins)
    if not found.file_form:
        return plain
    pointer = _taken(f"{found.field}_file", found.name + FILE_SUFFIX, namespace, origins)
    if pointer is None or (plain and plain.origin.source > pointer.origin.source):
        return plain
    if plain and plain.origin.source == pointer.origin.source:
        raise Misconfigured(
            f"--{found.name} and --{found.name}{FILE_SUFFIX} are both given "
            f"({plain.origin}, {pointer.origin}): keep one of them"
        )
    return _Given((_content(found, pointer),), pointer.origin, Path(pointer.texts[0]).expanduser())


def _content(found: Option, pointer: _Given) -> str:
    path = pointer.texts[0]
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise Misconfigured(
            f"--{found.name}{FILE_SUFFIX} is {path!r} ({pointer.origin}), "
            f"which cannot be read: {reason}"
        ) from error


def _taken(
    dest: str, name: str, namespace: Namespace, origins: Mapping[str, Origin]
) -> _Given | None:
    written = getattr(namespace, dest, None)
    if written is None:
        return None
    texts = tuple(written) if isinstance(written, list) else (str(written),)
    return _Given(texts, origins.get(dest, Origin(Source.FLAG, f"--{name}")))


def _value(found: Option, given: _Given, environ: Mapping[str, str]) -> Any:
    texts = given.texts
    if not found.repeatable:
        value = _read_one(found, texts[-1] if texts else "", given.origin, environ)
        return Secret(value) if found.secret else value
    separator = found.kind.separator
    parts = [part.strip() for text in texts for part in text.split(separator)]
    values = [_read_one(found, part, given.origin, environ) for part in parts if part]
    return tuple(itertools.chain(*values) if found.kind.several else values)


def _read_one(found: Option, text: str, origin: Origin, environ: Mapping[str, str]) -> Any:
    try:
        return found.kind.read(text, environ)
    except (ValueError, OverflowError) as error:
        shown = "***" if found.secret else repr(text)
        where = "command line" if origin.source is Source.FLAG else origin
        raise Misconfigured(
            f"--{found.name} is {shown}, from the {where}: give {found.kind.accepted}"
        ) from error


def _notes(found: Option, origin: Origin) -> list[str]:
    notes = []
    if found.secret and origin.source is Source.FLAG and not origin.name.endswith(FILE_SUFFIX):
        notes.append(
            f"--{found.name} on the command line can be read by every user of this machine: "
            f"use --{found.name}{FILE_SUFFIX} or {variables(found.name)[0]}"
        )
    if found.idle:
        notes.append(f"--{found.name} ({origin}) is accepted and has no effect yet")
    return notes
