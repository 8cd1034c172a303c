"""The story of an experiment through the real daemon: run, fail, retry, stop, and settle once."""

from __future__ import annotations

import json
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import PATIENCE, Box, until


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


def waits_for_go(box: Box) -> str:
    """Return a script that ends when the test says so."""
    return (
        "import pathlib, time\n"
        "print('begun', flush=True)\n"
        f"while not pathlib.Path({str(box.root / 'go')!r}).exists():\n"
        "    time.sleep(0.02)\n"
        "print('done')\n"
    )


def test_an_experiment_runs_and_everything_is_stored(box: Box) -> None:
    """Output, result and model are in the store in the client's form; nothing is left behind."""
    key = box.submit(
        "import os, pickle\n"
        "print('started in', os.path.basename(os.getcwd()))\n"
        'print(\'{"experiment": {"loss": 0.5}}\')\n'
        "pickle.dump({'answer': 42}, open('../retval/retval', 'wb'))\n"
        "open('../modeldir/weights.bin', 'w').write('w' * 1000)\n"
    )
    daemon = box.start("--limit-idle-duration", "1s")
    assert box.outcome(key) == {
        "cause": "completed",
        "exit_code": 0,
        "detail": "",
        "attempt": 1,
    }
    assert daemon.wait(PATIENCE) == 0
    assert "started in workspace\n" in box.output(key)
    assert pickle.loads(box.stored(key, "retval")) == {"answer": 42}  # noqa: S301 - our own
    assert box.stored(key, "modeldir", "weights.bin") == b"w" * 1000
    scraped = list((box.storage / "metadata").glob("scrape-host-*.json"))
    assert json.loads(scraped[0].read_text())["experiment"] == {"loss": 0.5}
    status = json.loads((box.root / "store" / "meta" / "experiments" / key).read_text())
    assert status["status"] == "finished"
    assert status["time_started"] <= status["time_finished"]
    assert box.waiting() == []
    assert list((box.state / "runs").iterdir()) == []
    assert list((box.state / "work" / "experiments").iterdir()) == []


def test_a_failure_is_final_and_explained(box: Box) -> None:
    """A script that exits with 3 is run once; its output says what happened and what to do."""
    key = box.submit("import sys; print('oh no'); sys.exit(3)")
    box.start()
    outcome = box.outcome(key)
    assert (outcome["cause"], outcome["exit_code"], outcome["attempt"]) == ("exit", 3, 1)
    assert "oh no" in box.output(key)
    assert "studio-runner: exit: it exited with 3" in box.output(key)


def test_a_failure_is_retried_when_the_request_asks(box: Box) -> None:
    """All attempts' outputs are kept, each under a line that says why the one before ended."""
    message = box.message(
        "import pathlib, sys\n"
        "seen = pathlib.Path('../modeldir/seen')\n"
        "first = not seen.exists()\n"
        "seen.write_text('x')\n"
        "print('first' if first else 'second')\n"
        "sys.exit(1 if first else 0)\n"
    )
    message["config"]["runner"] = {"retry_on": ["exit"], "max_attempts": 2}
    key = box.publish(message)
    box.start()
    outcome = box.outcome(key)
    assert (outcome["cause"], outcome["attempt"]) == ("completed", 2)
    output = box.output(key)
    assert output.index("first") < output.index("attempt 2 on") < output.index("second")
    assert "attempt 1 ended with: exit" in output


def test_a_time_limit_ends_the_whole_tree(box: Box) -> None:
    """Children that left the session are gone as well, and the cause is named."""
    key = box.submit(
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    time.sleep(1000)\n"
        "time.sleep(1000)\n",
        max_duration="1s",
    )
    box.start()
    assert box.outcome(key)["cause"] == "time-limit"
    assert box.output(key).count("time-limit") == 1


def test_an_expired_lifetime_is_not_started(box: Box) -> None:
    """An experiment that waited past its lifetime ends without having run."""
    message = box.message("print('ran')", time_added=1000.0)
    message["config"]["experimentLifetime"] = "1h"
    key = box.publish(message)
    box.start()
    assert box.outcome(key)["cause"] == "lifetime"
    assert "ran" not in box.output(key)


def test_a_killed_daemon_loses_nothing(box: Box) -> None:
    """The run goes on without its daemon; the next one adopts it and stores its one result."""
    keys = [box.submit(waits_for_go(box)) for _ in range(3)]
    first = box.start()
    until(lambda: box.live_output().count("begun") == 2 or None, "two runs", box.log)
    box.kill(first)
    second = box.start("--limit-idle-duration", "2s")
    (box.root / "go").touch()
    for key in keys:
        assert box.outcome(key)["cause"] == "completed"
        assert box.output(key) == "begun\ndone\n"
    assert second.wait(PATIENCE) == 0
    assert [ending["attempt"] for ending in box.settled()] == [1, 1, 1]


def test_a_drained_daemon_finishes_what_runs_and_takes_nothing_more(box: Box) -> None:
    """After the first TERM the run ends in its own time; what waits keeps waiting."""
    running = box.submit(waits_for_go(box))
    daemon = box.start("--max-cores", "1")
    until(lambda: "begun" in box.live_output() or None, "the run", box.log)
    daemon.send_signal(signal.SIGTERM)
    until(lambda: '"draining' in box.log() or None, "draining", box.log)
    box.submit("print('never')")
    (box.root / "go").touch()
    assert daemon.wait(PATIENCE) == 0
    assert box.outcome(running)["cause"] == "completed"
    assert len(box.waiting()) == 1


def test_a_stopped_daemon_gives_its_messages_back_at_once(box: Box) -> None:
    """The second TERM ends the run, stores what there is, and the next daemon starts it again."""
    key = box.submit(
        "import pathlib, time\n"
        "seen = pathlib.Path('../modeldir/seen')\n"
        "if not seen.exists():\n"
        "    seen.write_text('x')\n"
        "    print('begun', flush=True)\n"
        "    time.sleep(1000)\n"
        "print('done')\n"
    )
    daemon = box.start()
    until(lambda: "begun" in box.live_output() or None, "the run", box.log)
    daemon.send_signal(signal.SIGTERM)
    until(lambda: '"draining' in box.log() or None, "draining", box.log)
    assert box.drain(daemon) == 0
    assert len(box.waiting()) == 1
    record = box.claim(key)
    assert record is not None
    assert (record["state"], record["previous_cause"], record["counted"]) == (
        "released",
        "drained",
        0,
    )
    box.start()
    assert box.outcome(key)["cause"] == "completed"


def test_a_client_that_says_stop_is_heard(box: Box) -> None:
    """The status that the client's own stop command writes ends the run, and it is not retried."""
    key = box.submit("import time; print('begun', flush=True); time.sleep(1000)")
    box.start()
    until(lambda: "begun" in box.live_output() or None, "the run", box.log)
    database = box.root / "store" / "meta" / "experiments" / key
    until(lambda: json.loads(database.read_text())["status"] == "running" or None, "running")
    stopped = {**json.loads(database.read_text()), "status": "stopped"}
    draft = box.root / "stopped"
    draft.write_text(json.dumps(stopped))
    draft.rename(database)  # whole at once, as a store would
    assert box.outcome(key)["cause"] == "cancelled"
    assert box.waiting() == []


def test_two_daemons_share_a_queue(box: Box) -> None:
    """Two state directories on one queue root: every experiment runs once."""
    keys = [box.submit(f"print({number})") for number in range(12)]
    box.start("--max-cores", "1")
    box.start("--max-cores", "1", state="other")
    for key in keys:
        outcome = box.outcome(key)
        assert (outcome["cause"], outcome["attempt"]) == ("completed", 1)


def test_a_second_daemon_of_a_state_directory_is_refused(box: Box) -> None:
    """It says who is in the way, and the first one goes on."""
    box.start()
    until(lambda: "daemon-started" in box.log() or None, "the first", box.log)
    assert box.start().wait(PATIENCE) == 1
    assert "another studio-runner uses --state-dir" in box.log()


def test_experiments_beyond_the_machine_are_left_to_others(box: Box) -> None:
    """What can never fit comes back to the queue with a reason, and others run."""
    needs = {"cpus": 500, "gpus": 0, "ram": "256m", "hdd": "64m"}
    box.submit("print('never')", resources_needed=needs)
    fits = box.submit("print('here')")
    box.start()
    assert box.outcome(fits)["cause"] == "completed"
    endings = until(
        lambda: [e for e in box.settled() if e["cause"] == "too-big"] or None, "too-big"
    )
    assert endings[0]["settled"] == "released"
    assert "500 cores" in endings[0]["detail"]


def test_a_big_experiment_waits_for_its_room(box: Box) -> None:
    """Both cores are free only when the small ones have ended; it is not starved or refused."""
    small = [box.submit("import time; time.sleep(1)") for _ in range(2)]
    needs = {"cpus": 2, "gpus": 0, "ram": "256m", "hdd": "64m"}
    big = box.submit("print('big')", resources_needed=needs)
    box.start()
    for key in [*small, big]:
        assert box.outcome(key)["cause"] == "completed"
