"""Puts a process into a scope of its own: what ends the daemon's unit does not end it then.

As a script, ``scope.py SLICE``, it tries that with itself: exits with 0, or with 1 and the reason.
"""

import os
import sys
import time

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from runner.supervisor import dbus

#: Systemd itself, without the bus; for root alone.
_SOCKET = b"/run/systemd/private"
#: Seconds that systemd may take. While it reads all its units anew it answers nobody.
_PATIENCE = 10.0
#: Seconds between two looks whether we have been moved; usually the second one sees it.
_LOOK = 0.0005
#: Seconds that the tree of a run may take to end, above the grace of the run.
_MARGIN = 20.0
_CHUNK = 1 << 16


def unit_of(run_id: str) -> str:
    """Return the name of a run's scope."""
    return f"studio-runner-run-{run_id}.scope"


def enter(unit: str, slice_name: str, grace: float, socket: bytes = _SOCKET) -> None:
    """Move this process into the new scope ``unit``. Raises OSError when that cannot be.

    What it has started before stays where it is.
    """
    call = dbus.start_scope(unit.encode(), slice_name.encode(), os.getpid(), grace + _MARGIN)
    try:
        _ask(socket, dbus.greeting(os.geteuid()) + call)
    except dbus.Refused as refusal:
        raise OSError(f"systemd refuses the scope {unit}: {refusal}") from None
    give_up = time.monotonic() + _PATIENCE
    while not _is_in(unit):
        if time.monotonic() > give_up:
            raise TimeoutError(f"systemd has not moved us into {unit} for {_PATIENCE:g} s")
        time.sleep(_LOOK)


def _ask(path: bytes, words: bytes) -> None:
    # The module around it imports selectors and enum: 10 ms.
    import _socket  # noqa: PLC0415 - for runs in scopes alone

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(_PATIENCE)
        connection.connect(path)
        connection.sendall(words)
        received = b""
        while not dbus.answered(received):
            chunk = connection.recv(_CHUNK)
            if not chunk:
                raise ConnectionError("systemd has hung up without an answer")
            received += chunk
    finally:
        connection.close()


def _is_in(unit: str) -> bool:
    with open("/proc/self/cgroup", "rb", 0) as file:
        return unit.encode() in file.read()


if __name__ == "__main__":
    try:
        enter(unit_of(f"trial-{os.getpid()}"), sys.argv[1], 0.0)
    except OSError as error:
        sys.exit(str(error))
