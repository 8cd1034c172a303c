"""What an experiment reaches of a cloud's network, in each sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import Box
from tests.passage import open_to_all

#: Of a network that has the address behind which clouds keep a machine's own role.
CLOUD = """
import socket, subprocess
for words in (("link", "set", "lo", "up"), ("addr", "add", "169.254.169.254/32", "dev", "lo")):
    subprocess.run(["ip", *words], check=True)
with socket.create_server(("169.254.169.254", 80)) as server:
    print("ready", flush=True)
    while True:
        server.accept()[0].close()
"""
ASKS = """
import socket
try:
    socket.create_connection(("169.254.169.254", 80), 10).close()
    print("reached")
except OSError:
    print("not reached")
"""
SANDBOXES = [
    pytest.param(name, marks=pytest.mark.service(name) if name != "plain" else ())
    for name in ("plain", "bwrap", "apptainer")
]


@pytest.fixture
def cloud() -> Iterator[tuple[str, ...]]:
    """Return what a command begins with that runs in a cloud."""
    if os.geteuid() != 0:
        pytest.skip("takes root, to make a network")
    command = ["unshare", "--net", sys.executable, "-c", CLOUD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as made:
        try:
            assert made.stdout is not None
            assert made.stderr is not None
            if made.stdout.readline() != b"ready\n":
                pytest.skip(f"no network can be made here: {made.stderr.read().decode()}")
            yield ("nsenter", f"--net=/proc/{made.pid}/ns/net", "--")
        finally:
            made.kill()


@pytest.mark.parametrize(("network", "said"), [("on", "reached\n"), ("off", "not reached\n")])
@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_clouds_metadata_are_out_of_reach_without_a_network_alone(
    *,
    tmp_path: Path,
    cloud: tuple[str, ...],
    sandbox: str,
    network: str,
    said: str,
    request: pytest.FixtureRequest,
) -> None:
    """As ``docs/isolation.md`` says: no sandbox that has a network keeps an experiment from it."""
    words = ["--sandbox", sandbox, "--network", network]
    if sandbox == "apptainer":
        image: Path = request.getfixturevalue("image")
        open_to_all(image)
        words += ["--container", str(image)]
    with Box(tmp_path) as box:
        box.start(*words, wrapper=cloud)
        key = box.submit(ASKS)
        assert box.outcome(key)["cause"] == "completed", box.output(key)
        assert said in box.output(key).splitlines(keepends=True)
