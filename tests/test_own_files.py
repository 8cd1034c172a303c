"""Whatever lies where the daemon keeps its own files: it is read as nothing, and nobody waits."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runner import own_files
from runner.cache import manifest as cached
from runner.cache.locks import is_held
from runner.cache.reservation import read_number
from runner.environments import manifest as built
from runner.lifecycle import history
from runner.lifecycle.artifacts.notes import Note, Notes
from runner.lifecycle.history import History
from runner.lifecycle.runs import exits, kept
from runner.lifecycle.runs.supervisor import Supervisor
from runner.lifecycle.runs.workspace import Workspace
from runner.lifecycle.sources.aside import Aside
from runner.model import Bytes
from runner.queues.drawer import Drawer
from runner.queues.local import beats, counts, letters
from runner.queues.local.places import Places
from runner.reporters.slack_threads import Threads
from runner.resources.lock_holder import noted
from runner.supervisor import leases, records
from runner.supervisor.watch import wished

#: What no field can be.
_ABSURD: tuple[object, ...] = (-1, None, "x" * 100_000, [], {}, 1e308, 10**30, True)


def _wreck(value: Any, absurd: object) -> Any:
    if isinstance(value, dict):
        return {name: _wreck(one, absurd) for name, one in value.items()}
    return absurd


def _contents(written: str) -> list[bytes]:
    """Return what may stand in the place of what was written."""
    found = [b"", written.encode()[: len(written) // 2], b"\xff\x00\x81\n" * 9, b'"5"', b"null"]
    found += [b"[" * 100_000, b"[1, [2], null]", b'{"version": 1}', b'{"a": NaN}']
    if written.startswith("{"):
        document = json.loads(written)
        found += [json.dumps(_wreck(document, absurd)).encode() for absurd in _ABSURD]
        found.append(json.dumps(_wreck(document, float("nan"))).encode())
    return found


def _link(path: Path) -> None:
    path.symlink_to(path.name)


#: What else may lie there.
_OTHERS: Mapping[str, Callable[[Path], None]] = {
    "directory": Path.mkdir,
    "pipe": os.mkfifo,
    "loop": _link,
}


#: What each holds, and how it is read: as nothing, where it holds something else.
_WRITTEN: Mapping[str, str] = {
    "beat": '{"owner": "o", "lease": 2.0, "beat": "b"}',
    "letter": '{"message": "m", "reason": "r", "buried_at": 1.0, "receive_count": 2}',
    "drawer": '{"id": "m", "body": "", "queue": "q", "receive_count": 1, "reason": "r", '
    '"buried_at": 1.0}',
    "history": '{"key": "k", "queue": "q", "project": "p", "attempt": 1, "cause": "c", '
    '"exit_code": 0, "detail": "", "settled": "acked", "ended": 1.0, "seconds": 1.0}',
    "slack": '{"version": 1, "threads": {"k": {"channel": "c", "ts": "1"}}}',
    "supervisor": '{"pid": 1, "started": 2, "boot": "b", "pid_namespace": "n"}',
    "exit": '{"reason": "exited", "code": 0, "duration": 1.0, "cpu_time": 1.0, "ended_at": 2.0}',
    "notes": '{"label": {"signature": "s", "single": true, "had_content": true}}',
    "layout": '{"location": "file:///x", "version": "v", "members": 0}',
    "remnant": '{"key": "k", "project": "p", "queue": "q", "attempt": 1, "cause": "c", '
    '"detail": "", "ended": 1.0, "path": "/x", "bytes": 3}',
    "cached": '{"version": 1, "source": "s", "size": 1, "bytes": 2, "members": 3}',
    "built": '{"version": 2, "survey": {"files": 1, "bytes": 2, "digest": "d", "compiled": ""}, '
    '"interpreter": {}}',
    "lock": '{"pid": 1, "state_dir": "/x"}',
    "stop": '{"cause": "cancelled", "grace": 1.0}',
}


def _note(path: Path) -> object:
    (path.parent / "run").mkdir(exist_ok=True)
    return kept.remnants(path.parent)


def _queue(path: Path) -> Places:
    return Places("q", path.parent, path.parent.parent)


def _parsed(path: Path, parse: Callable[[bytes], object]) -> object:
    try:
        return parse(own_files.read(path))
    except OSError:
        return None


_READ: Mapping[str, tuple[str, Callable[[Path], object], object]] = {
    "beat": (
        "beats/t",
        lambda path: beats.read(_queue(path), "t", timedelta(seconds=7)).lease,
        7.0,
    ),
    "count": ("received/m", lambda path: counts.read(_queue(path), "m"), 0),
    "letter": (
        "dead/m.reason.json",
        lambda path: [one.reason for one in letters.all_of(_queue(path))],
        ["the reason was lost"],
    ),
    "drawer": (
        f"letters/{hashlib.sha256(b'q').hexdigest()[:24]}/m.json",
        lambda path: Drawer(path.parent.parent, Bytes(1)).all_of("q"),
        [],
    ),
    "history": ("recent.jsonl", lambda path: [*History(path).endings, *history.read(path)], []),
    "aside": ("aside.json", lambda path: list(Aside(path)), []),
    "slack": ("slack.json", lambda path: len(Threads(path)), 0),
    "supervisor": ("supervisor.json", lambda path: Supervisor.recorded(path.parent), None),
    "exit": ("exit.json", lambda path: _parsed(path, exits.parse), None),
    "notes": (
        "ws/_runner/artifacts.json",
        lambda path: Notes(Workspace(path.parent.parent)).of("label"),
        Note(),
    ),
    "remnant": ("run.json", _note, []),
    "cached": ("manifest.json", lambda path: cached.read(path.parent), None),
    "built": ("manifest.json", lambda path: built.read(path.parent), None),
    "lock": ("machine.lock", lambda path: _parsed(path, noted), None),
    "number": ("0", read_number, 0),
    "stop": ("stop.json", lambda path: _parsed(path, wished), None),
}


@pytest.mark.parametrize("name", _READ)
def test_what_is_none_of_the_daemons_files_is_read_as_nothing(tmp_path: Path, name: str) -> None:
    """Cut short by a power cut, of another form, or with fields that no field can be."""
    place, read, nothing = _READ[name]
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if name == "letter":
        path.with_name("m").touch()
    for content in _contents(_WRITTEN.get(name, "")):
        path.write_bytes(content)
        assert read(path) == nothing, content[:200]


@pytest.mark.parametrize("name", _READ)
@pytest.mark.parametrize("kind", _OTHERS)
def test_what_is_no_file_keeps_nobody_waiting(tmp_path: Path, name: str, kind: str) -> None:
    """A pipe, above all: whoever opened one for reading would wait for ever."""
    place, read, nothing = _READ[name]
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if name == "letter":
        path.with_name("m").touch()
    _OTHERS[kind](path)
    assert read(path) == nothing


def test_whoever_holds_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Neither by the daemon's looks at locks nor by the supervisor's."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert not is_held(path)
    assert not leases.is_held(os.fsencode(path))
    assert records.read(os.fsencode(tmp_path), b"pipe") == b""
