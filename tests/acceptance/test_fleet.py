"""Two real daemons tell of themselves in a directory, and ``studio-runner fleet`` shows them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.box import Box, until
from tests.servers.s3 import S3Server, keys

#: Runs until the test says so.
WAIT = """
import pathlib, time
while not pathlib.Path({go!r}).exists():
    time.sleep(0.02)
"""
SECRET = "c29tZS1zZWNyZXQtdmFsdWU"


def fleet(box: Box, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    store = f"file://{box.root / 'lab'}"
    return subprocess.run(
        [sys.executable, "-m", "runner", "fleet", "--store", store, *options],
        env=box.environ(),
        capture_output=True,
        text=True,
        check=False,
    )


def told(box: Box) -> dict[str, dict[str, Any]]:
    """Return what lies in the folder, by the names of the state directories."""
    owners = {file.read_text(): file.parent.name for file in box.root.glob("*/owner")}
    beats = [json.loads(file.read_bytes()) for file in box.root.glob("lab/fleet/[!.]*.json")]
    return {owners[one["owner"]]: one for one in beats}


def standing(box: Box, runner: str, state: str) -> dict[str, Any] | None:
    """Return what a runner has told, as soon as it stands so."""
    found = told(box).get(runner, {})
    return found if found.get("state") == state else None


def verb(box: Box, name: str) -> None:
    """Tell the daemon of this machine to do something."""
    command = [sys.executable, "-m", "runner", name, "--state-dir", str(box.state)]
    subprocess.run(command, env=box.environ(), check=True, capture_output=True)


def test_a_fleet_is_seen_from_its_first_beat_to_its_last(tmp_path: Path) -> None:
    """What each runs and wants is there for all to see; who is silent is late, who ends says so."""
    with Box(tmp_path) as box:
        (tmp_path / "lab").mkdir()
        go = tmp_path / "go"
        options = ("--fleet-store", f"file://{tmp_path / 'lab'}", "--fleet-interval", "1s")
        # A secret of the daemon's own that somebody has for the key of an experiment.
        first = box.start(
            *options, "--slack-hook", f"https://127.0.0.1/{SECRET}", "--max-cores", "1"
        )
        key = box.submit(WAIT.format(go=str(go)), key=f"run-{SECRET}")

        def seen_running() -> dict[str, Any] | None:
            found = told(box).get("state", {})
            phases = [one["phase"] for one in found.get("running", ())]
            return found if phases == ["running"] else None

        one = until(seen_running, "an experiment in the fleet", box.log)
        (run,) = one["running"]
        assert (one["state"], one["experiments"]) == ("taking", 1)
        assert run["queue"] == "local_test"
        assert SECRET not in json.dumps(one), "the daemon's own secret is told to the fleet"
        assert SECRET in key

        second = box.start(*options, state="other")
        until(lambda: "other" in told(box) or None, "the second runner", box.log)
        lines = fleet(box).stdout.splitlines()
        assert [line.split("\t")[0] for line in lines[:3]] == ["host", one["host"], one["host"]]
        assert lines[3].startswith("key\t")

        verb(box, "suspend")
        suspended = until(lambda: standing(box, "state", "suspended"), "it says so", box.log)
        assert suspended["since"] > one["since"]
        assert suspended["trouble"]
        verb(box, "detach")
        assert first.wait(60) == 0
        left = told(box)["state"]
        assert (left["state"], left["experiments"]) == ("left its runs", 1)
        assert box.drain(second) == 0
        assert told(box)["other"]["state"] == "ended"

        # As if the first one had died a minute ago, without a word.
        (file,) = tmp_path.glob(f"lab/fleet/*-{one['owner']}.json")
        file.write_text(json.dumps(one))
        os.utime(file, (time.time() - 60,) * 2)
        shown = json.loads(fleet(box, "--json").stdout)["runners"]
        assert {one["state"]: one["late"] for one in shown} == {"taking": True, "ended": False}
        assert "late, was taking" in fleet(box).stdout
        go.touch()
        assert box.complaints() == []


def test_a_store_that_is_not_there_costs_a_warning(tmp_path: Path) -> None:
    """Experiments run as ever, the log says it once, and the daemon ends as ever."""
    with Box(tmp_path) as box:
        daemon = box.start(
            *("--fleet-store", f"file://{tmp_path / 'unmounted'}", "--fleet-interval", "1s")
        )
        assert box.outcome(box.submit("print('hello')"))["cause"] == "completed"
        assert box.drain(daemon) == 0
        said = [line for line in box.log().splitlines() if "is not told how" in line]
        assert len(said) == 1
        assert "of --fleet-store is not there" in said[0]
        assert box.complaints() == []


@pytest.mark.service("s3")
def test_a_bucket_is_told_by_the_daemons_own_keys(
    tmp_path: Path, seaweed_server: S3Server, seaweed_bucket: str
) -> None:
    """A real daemon and a real server: there while it serves, and it says good-bye."""
    own = keys("admin")
    variables = {
        "AWS_ACCESS_KEY_ID": own.access_key,
        "AWS_SECRET_ACCESS_KEY": own.secret_key.reveal(),
    }
    place = f"s3://{seaweed_server.host}/{seaweed_bucket}"
    with Box(tmp_path) as box:
        daemon = box.start("--fleet-store", place, variables=variables)
        until(lambda: seaweed_server.keys(seaweed_bucket) or None, "the first beat", box.log)
        assert box.drain(daemon) == 0
        (name,) = seaweed_server.keys(seaweed_bucket)
        assert json.loads(seaweed_server.get(seaweed_bucket, name))["state"] == "ended"
        done = subprocess.run(
            [sys.executable, "-m", "runner", "fleet", "--store", place],
            env={**box.environ(), **variables},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[1].split("\t")[3] == "ended"
        assert box.complaints() == []


def test_an_address_that_is_none_stops_the_start(tmp_path: Path) -> None:
    """A daemon that could never tell anybody does not begin."""
    with Box(tmp_path) as box:
        daemon = box.start("--fleet-store", "http://somewhere/fleet")
        assert daemon.wait(60) != 0
        assert "--fleet-store is 'http://somewhere/fleet'" in box.log()


def test_what_is_a_day_old_is_removed_on_request(tmp_path: Path) -> None:
    """It is counted, kept until somebody says so, and then gone."""
    with Box(tmp_path) as box:
        file = tmp_path / "lab" / "fleet" / "box-1.json"
        file.parent.mkdir(parents=True)
        file.write_text("{}")
        os.utime(file, (time.time() - 90_000,) * 2)
        assert "1 that are silent for more than a day are not shown" in fleet(box).stderr
        assert file.exists()
        assert "were removed" in fleet(box, "--prune").stderr
        assert not file.exists()
        assert "No runner tells of itself" in fleet(box).stdout


def test_a_fleet_is_watched_until_somebody_has_seen_enough(tmp_path: Path) -> None:
    """Each look is one line of JSON; a store that goes away is said, and looked for again."""
    with Box(tmp_path) as box:
        (tmp_path / "lab").mkdir()
        store = f"file://{tmp_path / 'lab'}"
        with subprocess.Popen(
            [sys.executable, "-m", "runner", "fleet", "--store", store, "--watch", "--json"],
            env=box.environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as watching:
            assert watching.stdout is not None
            assert watching.stderr is not None
            first = json.loads(watching.stdout.readline())
            (tmp_path / "lab").rename(tmp_path / "away")
            assert "of --fleet-store is not there" in watching.stderr.readline()
            watching.send_signal(signal.SIGINT)
            assert watching.wait(60) == 130
        assert first == {"store": f"{store}/fleet", "runners": [], "forgotten": 0}
