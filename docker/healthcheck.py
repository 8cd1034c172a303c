#!/opt/studio-runner/bin/python -IS
"""Asks the daemon in this container whether it is well: status 0, else 1 and what it says.

By ``/healthz``; where nobody listens (it is switched off, or a flag has moved it) by the control
socket, which the main loop answers.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_LISTENS = "127.0.0.1:9464"
_VARIABLES = ("STUDIO_RUNNER_LISTEN", "LISTEN", "STUDIO_RUNNER_PROM_ADDRESS", "PROM_ADDRESS")
_PATIENCE = 4.0
_ANY = {"", "0.0.0.0", "::", "*"}  # noqa: S104 - recognised, not listened on


def address(environ: Mapping[str, str]) -> tuple[str, int]:
    """Return where the daemon can be asked from inside its container."""
    said = next((environ[name] for name in _VARIABLES if environ.get(name)), _LISTENS)
    host, _, port = said.strip().rpartition(":")
    host = host.strip("[]")
    return ("127.0.0.1" if host in _ANY else host), int(port)


def of_listener(host: str, port: int) -> str:
    """Return what is wrong, empty when nothing is. Raises OSError where nobody listens."""
    connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        said = answer.read(2000).decode(errors="replace").strip()
    finally:
        connection.close()
    return "" if answer.status == http.HTTPStatus.OK else said or str(answer.status)


def of_socket(path: str) -> str:
    """Return what is wrong, empty when nothing is. Raises OSError where nobody listens."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_PATIENCE)
        asking.connect(path)
        asking.sendall(b'{"verb": "status", "arguments": {}}\n')
        return "" if asking.recv(1) else "the daemon went away while it was asked"


def trouble(environ: Mapping[str, str]) -> str:
    """Return what is wrong, empty when nothing is."""
    state = environ.get("STUDIO_RUNNER_STATE_DIR") or environ.get("STATE_DIR") or "."
    try:
        return of_listener(*address(environ))
    except (OSError, http.client.HTTPException) as listener:
        try:
            return of_socket(os.path.join(state, "control.sock"))  # noqa: PTH118 - pathlib takes longer than the rest
        except OSError as control:
            return f"the daemon does not answer, neither by HTTP ({listener}) nor there ({control})"


if __name__ == "__main__":
    sys.exit(trouble(os.environ) or None)
