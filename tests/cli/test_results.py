"""``submit --grid``, ``results``, ``plot`` and ``fetch`` without a daemon."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from runner.cli import canvas
from runner.cli.curves import Chart, Curve
from runner.client.shop import LocalShop
from runner.lifecycle.ownership.record import ClaimRecord, Owner, RecordedOutcome, State
from tests.cli.conftest import Desk
from tests.client.archive import packed, put

GRID = ("--grid", "lr=0.1,0.01", "--grid", "depth=2,10", "--sweep", "s")


def end(desk: Desk, key: str, accuracy: float | None, cause: str = "completed") -> None:
    """Do what a runner does at the end."""
    shop = LocalShop(desk.store)
    submitted = (shop.experiment(key) or {})["time_added"]
    outcome = RecordedOutcome(cause, 0, "")
    owner = Owner("host", "daemon", "run")
    record = ClaimRecord(
        key,
        owner,
        state=State.ENDED,
        outcome=outcome,
        submitted=submitted,
        begun_at=10.0,
        updated_at=75.0,
    )
    told = "".join(
        json.dumps({"step": step, "accuracy": accuracy * step}) + "\n"
        for step in (1, 2)
        if accuracy is not None
    )
    put(shop, f"experiments/{key}/output.tar", packed({"./output": told.encode()}))
    put(shop, f"experiments/{key}/_claim.{key}.json", record.encode())


@pytest.fixture
def swept(desk: Desk) -> list[str]:
    """Return the keys of a sweep of four, of which the first three have ended."""
    status, out, err = desk.run("submit", *GRID, "--project", "p", "train.py")
    assert status == 0, err
    keys = out.split()
    end(desk, keys[0], 0.25)
    end(desk, keys[1], 0.5)
    end(desk, keys[2], None, "exit")
    return keys


def test_a_grid_is_one_workspace_and_many_messages(desk: Desk) -> None:
    """Each knows its arguments, its sweep and its point; the keys are on stdout."""
    status, out, err = desk.run("submit", *GRID, "train.py", "--rate={lr}", "{other}")
    assert status == 0
    assert "queued 4 of sweep s in local_default: studio-runner results s --watch" in err
    found = {one["experiment"]["key"]: one["experiment"] for one in desk.messages()}
    assert sorted(found) == out.split()
    first = found[out.split()[0]]
    # Quoted, as the client writes arguments.
    assert first["args"] == ["--rate=0.1", "'{other}'", "--depth", "2"]
    assert first["info"] == {"sweep": "s", "parameters": {"lr": "0.1", "depth": "2"}}
    assert len(list((desk.store / "storage/blobstore").iterdir())) == 1


def test_one_may_join_a_sweep(desk: Desk, swept: list[str]) -> None:
    """Also what was forgotten in the grid."""
    status, out, _ = desk.run("submit", "--sweep", "s", "train.py", "--lr", "7")
    assert status == 0
    _, listed, _ = desk.run("results", "s", "--json")
    assert [one["key"] for one in json.loads(listed)] == [*swept, out.strip()]


def test_a_dry_run_queues_nothing(desk: Desk) -> None:
    """It lists what would run, for people and for scripts; nothing is packed."""
    status, out, _ = desk.run("submit", "--dry-run", *GRID, "train.py")
    assert status == 0
    assert "lr=0.01 depth=10\ttrain.py --lr 0.01 --depth 10" in out
    status, out, _ = desk.run("submit", "--dry-run", "--json", *GRID, "train.py")
    assert json.loads(out)["experiments"][0]["parameters"] == {"lr": "0.1", "depth": "2"}
    assert not desk.queue.exists()
    assert not (desk.store / "storage").exists()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--grid", "lr=1,2", "--grid-limit", "1"], "the grid has 2 points (lr 2), more than 1"),
        (["--grid", "lr"], "--grid is 'lr': give NAME=VALUE"),
        (["--grid", "lr=1,2", "--follow"], "with --grid, say --wait"),
        (["--grid", "lr=1,2", "--sweep", "a/b"], "--sweep"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(desk: Desk, argv: list[str], says: str) -> None:
    """One sentence, status 2, and nothing queued."""
    status, out, err = desk.run("submit", *argv, "train.py")
    assert (status, out) == (2, "")
    assert says in err
    assert not desk.queue.exists()


def test_keys_of_a_grid_are_not_taken_twice(desk: Desk) -> None:
    """A key that somebody chose is the beginning of all of them."""
    assert desk.run("submit", "--key", "k", *GRID, "train.py")[1].split()[0] == "k-1"
    status, _, err = desk.run("submit", "--key", "k", *GRID, "train.py")
    assert status == 2
    assert "choose another --key" in err


def test_results_are_a_table(desk: Desk, swept: list[str]) -> None:
    """A row each, with its point, its end, its time, and the last of each number."""
    status, out, _ = desk.run("results", "s")
    assert status == 0
    assert out.splitlines()[:2] == [
        "key\tlr\tdepth\toutcome\ttook\taccuracy\tstep",
        f"{swept[0]}\t0.1\t2\tcompleted\t1m05s\t0.5\t2",
    ]
    assert out.splitlines()[4] == f"{swept[3]}\t0.01\t10\twaiting\t\t\t"
    assert desk.run("results", *swept)[1] == out
    assert desk.run("results", "--project", "p")[1] == out
    assert desk.run("results", "s", "--values", "accuracy")[1].startswith(
        "key\tlr\tdepth\toutcome\ttook\taccuracy\n"
    )


@pytest.mark.parametrize(
    ("by", "order"),
    [
        ("accuracy", [0, 1, 2, 3]),
        ("-accuracy", [1, 0, 2, 3]),
        ("depth", [0, 2, 1, 3]),  # as numbers: 2 before 10
        ("-cause", [2, 0, 1, 3]),
    ],
)
def test_results_are_sorted(desk: Desk, swept: list[str], by: str, order: list[int]) -> None:
    """By a number, a parameter or a column; what has none comes last in any case."""
    _, out, _ = desk.run("results", "s", "--csv", "--sort", by)
    assert [row["key"] for row in csv.DictReader(io.StringIO(out))] == [swept[n] for n in order]


@pytest.mark.parametrize(
    ("argv", "status", "says"),
    [
        (["results"], 2, "say which"),
        (["results", "absent"], 1, "no sweep and no experiment 'absent'"),
        (["results", "--project", "absent"], 1, "no experiment of project 'absent'"),
        (["results", "s", "--sort", "lrr"], 2, "--sort is 'lrr': give one of lr, depth, accuracy"),
        (["results", "s", "--csv", "--json"], 2, "not both"),
        (["plot", "s"], 2, "--y accuracy"),
        (["plot", "s", "--y", "loss"], 1, "they told accuracy, step"),
        (["fetch", "absent"], 1, "'absent' is not known"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(
    desk: Desk, swept: list[str], argv: list[str], status: int, says: str
) -> None:
    """It says what there is instead."""
    assert swept
    found, _, err = desk.run(*argv)
    assert found == status
    assert says in err


def test_watching_ends_when_all_have(desk: Desk, swept: list[str]) -> None:
    """The status says whether all succeeded; each end is told once."""
    end(desk, swept[3], 1.0)
    status, out, err = desk.run("results", "s", "--watch")
    assert status == 1
    assert err.count(f"{swept[2]}: exit (lr=0.01 depth=2)") == 1
    assert "waiting" not in out
    assert desk.run("results", swept[0], "--watch")[0] == 0


def test_a_plot_has_a_line_for_each_other_parameter(desk: Desk, swept: list[str]) -> None:
    """Over a parameter, over another number, and over the steps of each run."""
    end(desk, swept[2], 0.1)
    end(desk, swept[3], 0.2)
    _, out, _ = desk.run("plot", "s", "--x", "depth", "--y", "accuracy")
    assert "accuracy over depth" in out
    assert [line.split("⣿ ")[1].strip() for line in out.splitlines() if "  ⣿ " in line] == [
        "lr=0.1",
        "lr=0.01",
    ]
    _, out, _ = desk.run("plot", "s", "--y", "accuracy")
    assert "accuracy over step" in out
    assert out.count("depth=10") == 2


@pytest.mark.parametrize("values", ["relu,tanh", "nan,inf", "1,nan"])
def test_what_is_no_number_is_a_name(desk: Desk, values: str) -> None:
    """Along the axis in the grid's order, in the table and sorted as any other."""
    keys = desk.run("submit", "--grid", f"kind={values}", "--sweep", "s", "train.py")[1].split()
    for key in keys:
        end(desk, key, 1.0)
    status, out, _ = desk.run("plot", "s", "--x", "kind", "--y", "accuracy")
    assert status == 0
    assert "  ".join(values.split(",")) in out
    assert desk.run("results", "s", "--sort", "kind")[0] == 0


def test_a_picture_is_written(desk: Desk, swept: list[str]) -> None:
    """With the extra; in a process of its own, because matplotlib keeps its fonts open."""
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    assert desk.run("submit", "--sweep", "s", "train.py")[0] == 0
    command = [sys.executable, "-m", "runner", "plot", "s", "--x", "lr", "--y", "accuracy"]
    subprocess.run([*command, "--png", "a.png"], check=True)
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    assert swept


def test_without_the_extra_its_name_is_told(swept: list[str]) -> None:
    """And that there is the terminal."""
    assert swept
    code = (
        "import sys\nsys.modules['matplotlib.figure'] = None\nsys.modules['matplotlib'] = None\n"
        "from runner.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    argv = ["plot", "s", "--y", "accuracy", "--png", "a.png"]
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install 'studio-runner[plot]'" in done.stderr


def test_fetched_is_what_was_submitted(desk: Desk, swept: list[str]) -> None:
    """By default into a directory of the key's name; the workspace only where it is named."""
    status, out, _ = desk.run("fetch", swept[0])
    assert (status, out) == (0, f"{swept[0]}/output\n")
    status, out, _ = desk.run("fetch", swept[0], "workspace", "--to", "w", "--json")
    assert json.loads(out)["artifacts"] == {"workspace": "w/workspace"}
    assert Path("w/workspace/train.py").read_text() == "print('hello')\n"


@pytest.mark.parametrize(
    "points", [[(1.0, 1.0)], [(0.0, -5.0), (0.0, 5.0)], [(1e-9, 3.0), (1e9, 3.0)]]
)
def test_any_numbers_can_be_drawn(points: list[tuple[float, float]]) -> None:
    """One point, a line straight up, a line straight across; all lines fit the width."""
    chart = Chart("x", "y", [Curve("c", points)])
    lines = ["".join(text for text, _ in line) for line in canvas.drawn(chart, 40, 8)]
    assert len(lines) == 1 + 8 + 2 + 1
    assert all(len(line) <= 40 for line in lines)
    assert any("⠀" < letter <= "⣿" for line in lines[1:9] for letter in line)
