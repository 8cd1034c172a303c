"""The scripts of the container image, as far as they run without a container."""

from __future__ import annotations

import http.server
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Answers as docker would: it knows no image, and notes what it is asked.
CLIENT = """#!/bin/sh
echo "$*" >>"$NOTES"
case $1$2 in imageinspect) test -n "${HAS_BASE-}" ;; pull*) exit 1 ;; esac
"""
#: Says with what it was started.
COMMAND = """#!/bin/sh
echo "arguments: $*"
echo "user: ${RUN_AS-}${STUDIO_RUNNER_RUN_AS-}"
grep Cap /proc/self/status
"""


def script(path: Path, text: str) -> Path:
    """Write something that can be run."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def built(tmp_path: Path, verb: str, **variables: str) -> tuple[int, list[str], str]:
    """Run ``build.sh``; return its status, what it asked the client for, and its complaints."""
    notes = tmp_path / "notes"
    notes.write_text("")
    client = script(tmp_path / "client", CLIENT)
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "docker/build.sh"), verb],
        env={"PATH": os.environ["PATH"], "NOTES": str(notes), "DOCKER": str(client), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, notes.read_text().splitlines(), done.stderr


def test_images_are_named_as_they_were_asked_for(tmp_path: Path) -> None:
    """Registry and project stand before the name; the base is named by what it is made from."""
    _, asked, _ = built(tmp_path, "image", VERSION_TAG="9.9.9", BASE="python:3.12-slim")
    _, base, image = asked
    assert re.search(r"--tag studio-runner-base:[0-9a-f]{12} --build-arg BASE=python:3.12", base)
    assert " --tag studio-runner:9.9.9 " in image
    tag = re.findall(r"studio-runner-base:[0-9a-f]+", base)[0]
    assert f"BASE_IMAGE={tag} " in image
    _, asked, _ = built(tmp_path, "image", BASE="python:3.12-slim", CUDA="12.6")
    assert tag not in asked[1]
    words = {"REGISTRY": "registry.example.com/", "PROJECT": "ml", "VERSION_TAG": "1"}
    _, asked, _ = built(tmp_path, "image", **words)
    assert asked[1].startswith("pull --quiet registry.example.com/ml/studio-runner-base:")
    assert " --tag registry.example.com/ml/studio-runner:1 " in asked[3]


def test_a_base_that_is_there_is_used(tmp_path: Path) -> None:
    """A change of the source does not rebuild what is heavy."""
    _, asked, _ = built(tmp_path, "image", HAS_BASE="yes", BUILD_ARGS="--network host")
    _, image = asked
    assert image.startswith("build --network host --file docker/Dockerfile ")


def test_only_a_named_registry_is_pushed_to(tmp_path: Path) -> None:
    """Without a name before it, the image would go to everybody's registry."""
    status, asked, said = built(tmp_path, "push")
    assert (status, asked) == (2, [])
    assert "push needs a registry" in said
    status, asked, _ = built(tmp_path, "push", REGISTRY="localhost:5000", VERSION_TAG="3")
    assert status == 0
    assert asked[1] == "push localhost:5000/studio-runner:3"


def entered(tmp_path: Path, uid: int, *words: str, **variables: str) -> str:
    """Start the entry point as if it were ``uid``; return what the command that it starts says."""
    script(tmp_path / "studio-runner", COMMAND)
    script(tmp_path / "id", f"#!/bin/sh\necho {uid}\n")
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "docker/entrypoint.sh"), *words],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path / "home"), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("variable", ["", "RUN_AS", "STUDIO_RUNNER_RUN_AS"])
def test_roots_experiments_are_another_user(variable: str, tmp_path: Path) -> None:
    """The image's own unless one is named; capabilities that nobody needs are given up."""
    named = {variable: "somebody"} if variable else {}
    said = entered(tmp_path, 0, "run", "--dry-run", **named)
    assert "arguments: run --dry-run\n" in said
    assert f"user: {'somebody' if variable else 'studio-runner-experiments'}\n" in said
    bounds = int(re.findall(r"CapBnd:\s*(\w+)", said)[0], 16)
    held = int(re.findall(r"CapEff:\s*(\w+)", said)[0], 16)
    needed = sum(1 << bit for bit in (0, 1, 3, 5, 6, 7))
    given_up = sum(1 << bit for bit in (4, 8, 10, 13, 18, 27, 29, 31))
    assert held & needed == needed
    assert not (held | bounds) & given_up


def test_without_root_nobody_else_is_named(tmp_path: Path) -> None:
    """A user who cannot become another is not told to, whatever the environment says."""
    said = entered(tmp_path, 10001, "run", RUN_AS="else", STUDIO_RUNNER_RUN_AS="else")
    assert "arguments: run\nuser: \n" in said
    assert (tmp_path / "home").is_dir()


@contextmanager
def answering(status: HTTPStatus, text: bytes) -> Iterator[int]:
    """Answer every request so; gives the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text if self.path == "/healthz" else b"elsewhere")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def checked(environ: Mapping[str, str]) -> tuple[int, str]:
    """Run the health check."""
    command = [sys.executable, "-IS", str(ROOT / "docker/healthcheck.py")]
    done = subprocess.run(command, env=dict(environ), capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.strip()


def test_the_health_check_says_what_the_daemon_says() -> None:
    """Well is 0, anything else 1 with the daemon's own words; it asks where the daemon listens."""
    with answering(HTTPStatus.OK, b"ok") as port:
        assert checked({"LISTEN": f":{port}", "PROM_ADDRESS": "127.0.0.1:1"}) == (0, "")
        assert checked({"PROM_ADDRESS": f"0.0.0.0:{port}"}) == (0, "")
    with answering(HTTPStatus.SERVICE_UNAVAILABLE, b"the keeper stands still") as port:
        assert checked({"LISTEN": f"127.0.0.1:{port}"}) == (1, "the keeper stands still")


def test_the_health_check_knows_the_control_socket(tmp_path: Path) -> None:
    """Where no listener is, the control socket decides; where neither is, it is not well."""
    environ = {"LISTEN": "127.0.0.1:1", "STATE_DIR": str(tmp_path)}
    status, said = checked(environ)
    assert status == 1
    assert "the daemon does not answer, neither by HTTP" in said
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "control.sock"))
        listening.listen()
        checking = threading.Thread(target=lambda: answers.append(checked(environ)))
        answers: list[tuple[int, str]] = []
        checking.start()
        with listening.accept()[0] as asked:
            assert b'"status"' in asked.recv(100)
            asked.sendall(b"{}\n")
        checking.join()
    assert answers == [(0, "")]
