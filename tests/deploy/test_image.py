"""The container image: built by a real engine, with the classic builder, and experiments in it.

It takes minutes and a network, so it runs only where REQUIRE_SERVICES names docker.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.engine import PATH, Engine, engine, import_base
from tests.services import required

_log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
SOURCES = ("docker", "requirements", "runner")
FILES = (".dockerignore", "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "pyproject.toml")
HOOK = "release/build_hook.py"
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")
PATIENCE = 90.0
#: Says who it is and what it can, tries what it must not, and leaves an orphan.
SCRIPT = """
import json, os, subprocess, sys
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
def can(act):
    try:
        act()
    except OSError:
        return False
    return True
subprocess.Popen(["sh", "-c", "(sleep 0.3 &)"])
print("SAID", json.dumps({
    "uid": os.getuid(),
    "capabilities": [status[name].strip() for name in ("CapPrm", "CapEff", "CapAmb")],
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "credentials": can(lambda: os.listdir("/etc/studio-runner/certs")),
    "root": can(lambda: open("/etc/hostname", "a")),
    "installation": can(lambda: open("/opt/studio-runner/written", "w")),
}))
if len(sys.argv) > 1:
    import time
    with open("/tmp/begun", "w") as file:
        file.write("begun")
    time.sleep(float(sys.argv[1]))
print("the end")
"""


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Engine]:
    """Run an engine of our own, with a Python that was made here."""
    if "docker" not in required():
        pytest.skip("service docker: it takes minutes; REQUIRE_SERVICES=docker asks for it")
    missing = [name for name in ("debootstrap", "dockerd") if not shutil.which(name, path=PATH)]
    if missing or os.geteuid() != 0:
        pytest.fail(f"service docker: it wants root, and {', '.join(missing) or 'no more'}")
    with engine(tmp_path) as running:
        import_base(running, tmp_path)
        yield running


def eventually(look: Callable[[], str], wanted: str) -> None:
    """Wait until what is looked at says what is wanted."""
    end = time.monotonic() + PATIENCE
    while (seen := look()) != wanted:
        if time.monotonic() > end:
            pytest.fail(f"never {wanted!r}; it is {seen!r}", pytrace=False)
        time.sleep(0.2)


def build(docker: Engine, source: Path) -> float:
    """Build by the project's own verb; return the seconds it took."""
    begun = time.monotonic()
    words = ["make", "image", "VERSION_TAG=tried", "BUILD_ARGS=--network host"]
    done = subprocess.run(
        words,
        cwd=source,
        env={**docker.environ, "DOCKER": docker.client},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(done.stdout[-6000:], pytrace=False)
    return time.monotonic() - begun


def layers(docker: Engine) -> list[str]:
    """Return the digests of what the image consists of."""
    found: list[str] = json.loads(docker.inspect("studio-runner:tried", "{{json .RootFS.Layers}}"))
    return found


class Container:
    """A daemon in a container, with everything taken from it that it can do without."""

    def __init__(self, docker: Engine, name: str, *options: str) -> None:
        self.docker = docker
        self.name = name
        strict = ["--read-only", "--network", "none", "--cap-drop", "ALL"]
        strict += ["--security-opt", "no-new-privileges", "--health-interval", "1s"]
        volume = ["--volume", f"{name}:/var/lib/studio-runner"]
        docker.run("run", "--detach", "--name", name, *strict, *volume, *options, *_IMAGE)

    def inside(self, *words: str, check: bool = True) -> str:
        """Run something beside the daemon, as the daemon's user."""
        return self.docker.run("exec", self.name, *words, check=check)

    def experiment(self, key: str, *arguments: str, wait: bool = True) -> str:
        """Submit the script; return what it printed, or nothing yet."""
        write = "mkdir -p /tmp/project; cd /tmp/project; touch requirements.txt; cat >say.py"
        self.inside("sh", "-c", f"{write} <<'END'\n{SCRIPT}\nEND")
        words = ["studio-runner", "submit", *(["--follow"] if wait else []), "--key", key]
        line = " ".join([*words, "say.py", *arguments])
        return self.inside("sh", "-c", f"cd /tmp/project && {line}")

    def zombies(self) -> list[str]:
        """Return the processes of the container that ended and that nobody has waited for."""
        states = self.inside("sh", "-c", "cat /proc/[0-9]*/stat")
        return [line for line in states.splitlines() if re.search(r"\) Z ", line)]


_IMAGE = ("studio-runner:tried", "run", "--grace-period", "60s")


def said(output: str) -> dict[str, object]:
    """Return what the script found out."""
    found: dict[str, object] = json.loads(re.findall(r"SAID (\{.*\})", output)[0])
    return found


@pytest.mark.service("docker")
@pytest.mark.timeout(1200)
def test_the_image_runs_experiments(docker: Engine, tmp_path: Path) -> None:
    """Built by the classic builder; a change of the source rebuilds what comes last alone.

    Its daemon needs six capabilities or none and no writable root file system; experiments have
    none, and none of the credentials; process 1 reaps; health is told; TERM drains.
    """
    source = tmp_path / "source"
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    (source / HOOK).parent.mkdir()
    for name in (*FILES, HOOK):
        shutil.copy2(ROOT / name, source / name)
    took = [build(docker, source)]
    before = layers(docker)
    with (source / "runner/model.py").open("a") as changed:
        changed.write("\nCHANGED = True\n")
    took.append(build(docker, source))
    after = layers(docker)
    assert [one == other for one, other in zip(before, after, strict=True)].count(False) <= 2
    size = int(docker.inspect("studio-runner:tried", "{{.Size}}"))
    _log.info("built in %.0f s, again in %.1f s, %.0f MB", *took, size / 1e6)
    label = docker.inspect(
        "studio-runner:tried", '{{index .Config.Labels "org.opencontainers.image.version"}}'
    )
    assert label in (ROOT / "runner/__init__.py").read_text()

    _as_root(docker)
    _as_nobody(docker)


def _as_root(docker: Engine) -> None:
    added = [word for name in CAPABILITIES for word in ("--cap-add", name)]
    runner = Container(docker, "root", *added)
    eventually(lambda: docker.inspect("root", "{{.State.Health.Status}}"), "healthy")
    runner.inside("sh", "-c", "mkdir /tmp/x; (sleep 0.1 &)")
    found = said(runner.experiment("first"))
    assert found == {
        "uid": 10002,
        "capabilities": ["0" * 16] * 3,
        "no_new_privileges": "1",
        "credentials": False,
        "root": False,
        "installation": False,
    }
    assert runner.inside("cat", "/proc/1/comm") == "tini"
    eventually(lambda: "none" if not runner.zombies() else "some", "none")
    # It is executed anew, beside what runs; then a drain: what runs ends by itself, and its result
    # is stored before the container stops.
    runner.experiment("last", "8", wait=False)
    eventually(lambda: runner.inside("sh", "-c", "cat /tmp/begun 2>/dev/null || :"), "begun")
    docker.run("kill", "--signal", "HUP", "root")
    eventually(lambda: str(docker.run("logs", "root").count('"daemon-started"')), "2")
    docker.run("stop", "--time", "80", "root")
    assert docker.inspect("root", "{{.State.ExitCode}}") == "0", docker.run("logs", "root")
    state = ["--volume", "root:/var/lib/studio-runner", "--network", "none"]
    told = docker.run("run", "--rm", *state, "studio-runner:tried", "logs", "last")
    assert told.endswith("the end")
    assert told.count("SAID") == 1


def _as_nobody(docker: Engine) -> None:
    runner = Container(docker, "nobody", "--user", "10001:10001")
    eventually(lambda: docker.inspect("nobody", "{{.State.Health.Status}}"), "healthy")
    found = said(runner.experiment("first"))
    assert found["uid"] == 10001
    assert found["capabilities"] == ["0" * 16] * 3
    assert found["root"] is found["installation"] is False
    docker.run("stop", "--time", "80", "nobody")
    assert docker.inspect("nobody", "{{.State.ExitCode}}") == "0"
