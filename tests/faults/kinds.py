"""The kinds of experiments that are under way when something dies, and what each must leave."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Tells outside that it runs, and whether another attempt of it does; then the kind's own work.
SCRIPT = """
import fcntl, hashlib, os, pathlib, sys, time, uuid
times, alive, key = pathlib.Path({times!r}), open({alive!r}, 'a'), {key!r}
nonce, model = uuid.uuid4().hex, pathlib.Path('../modeldir')
with times.open('a') as file:
    file.write('ran\\n')
try:
    fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)  # with all that it forks
except BlockingIOError:
    with times.open('a') as file:
        file.write('beside another\\n')
first = times.read_text().count('ran') == 1
print('first line', flush=True)
{work}
(model / 'nonce').write_text(nonce)
print('nonce', nonce)
print('last line', flush=True)
{end}
"""
#: Somebody has to kill the supervisor of the first attempt: the script itself cannot see it.
LOSES = "loses its supervisor"
#: What an experiment tells outside that finds another one on its card.
SHARED = "shared a card"
_STEPS = 6
_LINES = 20_000


@dataclass(frozen=True)
class Kind:
    """One kind of experiment."""

    work: str
    end: str = ""
    cause: str = "completed"
    exit_code: int | None = 0
    #: The least number of attempts that it takes.
    attempts: int = 1
    #: How many cards it asks for, where there are any.
    gpus: int = 0
    #: Says what is wrong with what it has printed and stored besides; empty: nothing.
    examine: Callable[[str, list[str], Mapping[str, bytes]], str] = lambda *_: ""


def _weights(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest() * 4096


def _has_weights(key: str, _: list[str], model: Mapping[str, bytes]) -> str:
    return "" if model.get("weights") == _weights(key) else "the weights are not what it wrote"


def _has_all(key: str, _: list[str], model: Mapping[str, bytes]) -> str:
    """More than goes to a store in one request."""
    wanted = hashlib.sha256(key.encode()).digest() * (12 << 15)
    return "" if model.get("large") == wanted else "its large file is not what it wrote"


def _printed_all(key: str, lines: list[str], _: Mapping[str, bytes]) -> str:
    wanted = [f"line {number} of {key}" for number in range(_LINES)]
    return "" if lines == wanted else f"{len(lines)} lines of {_LINES}, or other ones"


def _went_on(_: str, __: list[str], model: Mapping[str, bytes]) -> str:
    steps = model.get("steps", b"").decode().split()
    wanted = [str(number) for number in range(_STEPS)]
    return "" if steps == wanted else f"its steps are {steps}, not each one once"


KINDS: Mapping[str, Kind] = {
    "ok": Kind(
        "time.sleep({seconds})\n"
        "(model / 'weights').write_bytes(hashlib.sha256(key.encode()).digest() * 4096)",
        examine=_has_weights,
    ),
    "fails": Kind("time.sleep({seconds})", "sys.exit(3)", "exit", 3),
    "prints much": Kind(
        f"for number in range({_LINES}):\n    print('line', number, 'of', key)",
        examine=_printed_all,
    ),
    "goes on": Kind(
        "steps = model / 'steps'\n"
        "done = len(steps.read_text().split()) if steps.exists() else 0\n"
        f"for number in range(done, {_STEPS}):\n"
        "    time.sleep({seconds})\n"
        "    text = steps.read_text() if steps.exists() else ''\n"
        "    (model / 'draft').write_text(text + str(number) + '\\n')\n"
        "    (model / 'draft').rename(steps)\n",
        examine=_went_on,
    ),
    "stores much": Kind(
        "(model / 'large').write_bytes(hashlib.sha256(key.encode()).digest() * (12 << 15))\n"
        "time.sleep({seconds})",
        examine=_has_all,
    ),
    "has a card": Kind(
        "uuid = os.environ.get('CUDA_VISIBLE_DEVICES', '')\n"
        "card = open('{cards}' + (uuid or key), 'a')\n"
        "try:\n"
        "    fcntl.flock(card, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except BlockingIOError:\n"
        "    with times.open('a') as file:\n"
        "        file.write('shared a card\\n')\n"
        "time.sleep({seconds})",
        gpus=1,
    ),
    LOSES: Kind("time.sleep(1000 if first else 0)", attempts=2),
}


def script(kind: Kind, key: str, root: Path, *, seconds: float) -> str:
    """Return the script of an experiment, which tells in files below ``root`` how often it ran."""
    work = kind.work.format(seconds=seconds, cards=f"{root}/card.")
    times, alive = f"{root}/times.{key}", f"{root}/alive.{key}"
    return SCRIPT.format(times=times, alive=alive, key=key, work=work, end=kind.end)


def fault_of(
    kind: Kind,
    key: str,
    outcome: Mapping[str, Any],
    times: list[str],
    stored: Callable[[str], bytes | None],
) -> str:
    """Say what is wrong with what an experiment has left; empty: it is whole.

    ``stored`` returns the archive of a label.
    """
    told = (outcome["cause"], outcome["exit_code"])
    if told != (kind.cause, kind.exit_code):
        return f"it ended with {outcome}"
    if SHARED in times:
        return "two experiments had one card"
    runs = times.count("ran")
    if not kind.attempts <= runs <= outcome["attempt"]:
        return f"{runs} runs in {outcome['attempt']} attempts"
    output, model = _members(stored("output")), _members(stored("modeldir"))
    lines = output.get("output", b"").decode("utf-8", "replace").splitlines()
    return _of_output(lines, model) or kind.examine(key, _of_work(lines), model)


def _of_output(lines: list[str], model: Mapping[str, bytes]) -> str:
    nonces = [line.split()[1] for line in lines if line.startswith("nonce ")]
    if lines.count("first line") == 0 or "last line" not in lines:
        return f"its output is {lines[:3]} … {lines[-3:]}"
    if not nonces or model.get("nonce", b"").decode() != nonces[-1]:
        return "its output and its model are of two attempts"
    begun = len(lines) - 1 - lines[::-1].index("first line")
    ended = len(lines) - 1 - lines[::-1].index("last line")
    return "" if begun < ended else "its output ends with half an attempt"


def _of_work(lines: list[str]) -> list[str]:
    """Return what the last attempt printed between its first line and the nonce."""
    begun = len(lines) - lines[::-1].index("first line")
    nonce = next(n for n in range(begun, len(lines)) if lines[n].startswith("nonce "))
    return lines[begun:nonce]


def _members(archive: bytes | None) -> Mapping[str, bytes]:
    if archive is None:
        return {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {member.name.removeprefix("./"): tar.extractfile(member) for member in tar}
        return {name: file.read() for name, file in files.items() if file is not None}


def record_of(body: bytes | None) -> dict[str, Any] | None:
    """Read a claim record."""
    return None if body is None else dict(json.loads(body))
