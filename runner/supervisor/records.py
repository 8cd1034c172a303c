"""The files of a run's directory: their names, and writing them whole or not at all."""

import os

#: What is to be started (``launch.py``); emptied once read, for its environment may hold secrets.
LAUNCH = b"launch"
#: Who supervises: pid, start time, boot id, pid namespace, and the experiment's pid.
SUPERVISOR = b"supervisor.json"
#: The daemon's wish that the run ends: cause and grace.
STOP = b"stop.json"
#: How it ended. There is none while the run lives, or when its supervisor was killed.
EXIT = b"exit.json"
#: Held with ``flock`` by the daemon that looks after the run.
ADOPTED = b"adopted.lock"
#: How far a run is above the memory that it booked, and when that was (``shortage.py``).
EXCESS = b"excess"
#: What the supervisor itself had to say; empty unless it has a defect.
LOG = b"supervisor.log"
#: Begins the names of the pieces of output that may still be cut (``output.py``).
TAIL = b"tail."

#: Ends the name of a file that is not whole yet.
PART = b".part"

_RESERVE = 4096
_UNSAFE = '"\\'

Value = str | int | float | bool | None


def flat_json(fields: dict[str, Value]) -> bytes:
    """Encode one flat object. ``json`` would cost every run 10 ms."""
    body = ", ".join(f"{_text(name)}: {_value(value)}" for name, value in fields.items())
    return b"{" + body.encode() + b"}\n"


def _value(value: Value) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(text: str) -> str:
    return (
        '"' + "".join(c if " " <= c <= "~" and c not in _UNSAFE else _escape(c) for c in text) + '"'
    )


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def reserve(directory: bytes, name: bytes) -> None:
    """Take the space that ``write`` will need for ``name``, while the disk still has it."""
    with open(os.path.join(directory, name) + PART, "wb", 0) as file:
        file.write(bytes(_RESERVE))


def write(directory: bytes, name: bytes, data: bytes, *, durable: bool = False) -> None:
    """Replace a file in one step, in the space reserved for it if there is any. Raises OSError."""
    path = os.path.join(directory, name)
    part = path + PART
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.ftruncate(fd, len(data))
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(part, path)
    if durable:
        _sync_directory(directory)


def _sync_directory(path: bytes) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read(directory: bytes, name: bytes) -> bytes | None:
    """Return the content of a file; ``None`` when it is not there. Raises OSError.

    Nothing is in a pipe that somebody put in its place: nobody waits for its other end.
    """
    try:
        with open(os.path.join(directory, name), "rb", 0, opener=at_once) as file:
            return file.read() or b""
    except FileNotFoundError:
        return None


def at_once(path: str, flags: int) -> int:
    """Open a file, and wait for nobody: an ``opener`` for ``open``."""
    return os.open(path, flags | os.O_NONBLOCK)
