"""A stranger's sweep: queued by a grid, run by a daemon, read as a table, a plot and files."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from runner.cli import main
from runner.client import Client, Options
from runner.client.bucket import Bucket
from tests.acceptance.box import PATIENCE, Box, until
from tests.servers.collector import Collector, Seen
from tests.servers.s3 import S3Server

_TRAIN = """
import argparse, json, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--depth", type=int)
given = parser.parse_args()
for epoch in range(1, 4):
    print(json.dumps({"epoch": epoch, "accuracy": round(given.depth * given.lr * epoch, 6)}))
pathlib.Path("../modeldir/weights").write_text(f"{given.lr} {given.depth}")
sys.exit(3 if given.depth == 8 and given.lr == 0.1 else 0)
"""
_MODULE = """
def multiplied(number, text):
    return {"product": number * 2, "text": text}
"""
_ENOUGH = Options(memory="256mib", disk="64mib", requirements=("requirements.txt",))

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """A machine with a daemon, and a project in which somebody stands."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text(_TRAIN)
    (project / "requirements.txt").write_text("")
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(str(project))
    with Box(tmp_path) as box:
        for name in ("STUDIO_RUNNER_STORE", "CONFIG", "STUDIO_RUNNER_CONFIG"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("STUDIO_RUNNER_QUEUE_ROOT", str(box.queues))
        monkeypatch.setenv("STUDIO_RUNNER_LOCAL_STORE_ROOT", str(tmp_path / "store"))
        monkeypatch.setenv("STUDIO_RUNNER_STATE_DIR", str(box.state))
        box.start()
        yield box


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; return exit status, stdout and stderr."""

    def run(*argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(argv)
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_a_sweep_of_eight_and_its_plot(box: Box, run: Run) -> None:
    """Queued with one line, each with its own arguments; one fails, and all that is said of it.

    The table is sorted, the plot drawn, the best one's model fetched.
    """
    grid = ["--grid", "lr=0.1,0.01", "--grid", "depth=1,2,4,8", "--sweep", "first"]
    needs = ["--queue", "local_test", "--memory", "256mib", "--disk", "64mib"]
    status, out, err = run("submit", *grid, *needs, "train.py")
    assert status == 0, err
    keys = out.split()
    assert keys == [f"first-{number}" for number in range(1, 9)]
    assert len(list((box.root / "store/storage/blobstore").iterdir())) == 1

    status, _, err = run("results", "first", "--watch")
    assert status == 1  # one has failed
    assert f"{keys[3]}: exit (lr=0.1 depth=8)" in err

    status, out, _ = run("results", "first", "--csv", "--sort", "-accuracy")
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    accuracies = [float(row["accuracy"]) for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert (rows[0]["lr"], rows[0]["depth"], rows[0]["cause"]) == ("0.1", "8", "exit")
    assert {row["cause"] for row in rows[1:]} == {"completed"}
    assert all(float(row["seconds"]) > 0 and row["epoch"] == "3.0" for row in rows)

    best = json.loads(run("results", "first", "--json", "--sort", "accuracy")[1])[-2]
    assert best["parameters"] == {"lr": "0.1", "depth": "4"}
    status, out, err = run("fetch", best["key"], "--to", "best")
    assert status == 0, err
    assert Path("best/modeldir/weights").read_text() == "0.1 4"
    assert '"accuracy": 1.2' in Path("best/output").read_text()

    status, out, _ = run("plot", "first", "--x", "depth", "--y", "accuracy")
    assert status == 0
    assert "accuracy over depth" in out
    assert "lr=0.01" in out
    assert run("plot", *keys[:3], "--y", "accuracy")[0] == 0


def test_functions_and_scripts_from_python(box: Box) -> None:
    """A function gets values, not texts, and what it returns comes back; so does a script's end."""
    Path("work_of_mine.py").write_text(_MODULE)
    from work_of_mine import multiplied  # type: ignore[import-not-found] # noqa: PLC0415 - written here

    with Client("local_test") as client:
        grid: dict[str, list[object]] = {"number": [1, 20], "text": ["it's"]}
        sweep = client.map(multiplied, grid, options=_ENOUGH, sweep="functions")
        results = sweep.wait(PATIENCE)
        assert [result.metadata for result in results] == [
            {"product": 2, "text": "it's"},
            {"product": 40, "text": "it's"},
        ], results[0].output
        assert all(result.good and result.seconds for result in results)
        one = client.submit("train.py", ["--lr", "1", "--depth", "2"], options=_ENOUGH, key="one")
        result = one.wait(PATIENCE)
        assert (result.cause, result.values["accuracy"]) == ("completed", 6.0)
        assert result.series("accuracy") == [(1, 2.0), (2, 4.0), (3, 6.0)]
        [place] = result.fetch("modeldir", to="fetched")
        assert (place / "weights").read_text() == "1.0 2"
        assert [one.key for one in client.sweep("functions")] == list(sweep.keys)
    assert box.complaints() == []


def test_a_sweep_is_in_the_trace_of_who_sent_it(
    box: Box, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt is a child of the sender's span; the experiment finds its own."""
    [daemon] = box._daemons
    box.kill(daemon)
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    monkeypatch.setenv("TRACEPARENT", f"00-{trace}-{span}-01")
    Path("tell.py").write_text("import os; print('trace', os.environ['TRACEPARENT'])\n")
    needs = ["--queue", "local_test", "--memory", "256mib", "--disk", "64mib"]
    with Collector().serving() as collector:
        box.start("--otlp-endpoint", collector.url)
        words = ("submit", "--grid", "n=1,2", "--sweep", "told", *needs, "--wait", "tell.py")
        status, _, err = run(*words)
        assert status == 0, err
        for key in ("told-1", "told-2"):
            spans = until(partial(_whole, collector, key), f"the spans of {key}", box.log)
            assert {one.trace for one in spans.values()} == {trace}
            assert spans["experiment"].parent == span
            assert f"trace 00-{trace}-{spans['run'].span}-01" in box.output(key)


def _whole(collector: Collector, key: str) -> dict[str, Seen] | None:
    spans = {one.name: one for one in collector.of(key)}
    return spans if {"run", "experiment"} <= set(spans) else None


@pytest.mark.service("s3")
def test_a_sweep_in_a_bucket(
    box: Box, run: Run, seaweed_server: S3Server, seaweed_bucket: str
) -> None:
    """Workspace, listing, claims, output and artifacts are all in the bucket, and found there.

    There is no bucket of records: parameters and times are known all the same.
    """
    store = str(Bucket(seaweed_server.endpoint, seaweed_bucket))
    keys = seaweed_server.admin
    environ = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key.reveal(),
    }
    with Client("local_test", store, environ=environ) as client:
        grid: dict[str, list[object]] = {"lr": [0.5, 2], "depth": [3]}
        sweep = client.map("train.py", grid, options=_ENOUGH, sweep="far")
        results = sweep.wait(PATIENCE)
        assert [one.values["accuracy"] for one in results] == [4.5, 18.0], results
        assert all(one.good and one.seconds for one in results)
        [place] = client.fetch(sweep.keys[1], "modeldir", to="far")
        assert (place / "weights").read_text() == "2.0 3"
    assert box.complaints() == []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, environ[name])
        status, out, err = run("results", "far", "--store", store, "--json")
    assert status == 0, err
    assert [one["parameters"]["lr"] for one in json.loads(out)] == ["0.5", "2"]
    assert keys.secret_key.reveal() not in out + err
