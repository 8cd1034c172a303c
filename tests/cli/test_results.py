"""``submit --grid``, ``results``, ``plot`` and ``fetch`` without a daemon."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from runner.cli import canvas, result_blocks
from runner.cli.curves import Chart, Curve, over_steps
from runner.client.listings import of_sweep
from runner.client.results import Reader
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
    assert out.split() == ["s-1", "s-2", "s-3", "s-4"]
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


def test_a_sweep_of_the_same_name_goes_on(desk: Desk, swept: list[str]) -> None:
    """What the first one left stays: the keys are counted on, and somebody is told."""
    status, out, err = desk.run("submit", *GRID, "train.py")
    assert (status, out.split()) == (0, ["s-5", "s-6", "s-7", "s-8"])
    assert "sweep s goes on, with s-5" in err
    rows = json.loads(desk.run("results", "s", "--json")[1])
    assert [row["key"] for row in rows] == [*swept, *out.split()]
    assert rows[0]["values"]["accuracy"] == 0.5
    assert "s-9\t" in desk.run("submit", "--dry-run", *GRID, "train.py")[1]
    status, out, _ = desk.run("submit", "--grid", "x=1,2", "train.py")
    assert all(key.startswith("train-2") for key in out.split())


def test_a_failure_half_way_leaves_no_ghosts(desk: Desk) -> None:
    """What was queued is in the sweep, what was not is not, and the same again is possible."""
    obstacle = desk.store / "studioml-meta/experiments/s-3"
    (obstacle / "taken").mkdir(parents=True)
    status, out, err = desk.run("submit", *GRID, "train.py")
    assert (status, out) == (1, "")
    assert "only 2 of 4 were queued, up to s-2: the store" in err
    assert desk.run("results", "s", "--values", "x")[1].count("waiting") == 2
    assert len(desk.messages()) == 2
    (obstacle / "taken").rmdir()
    obstacle.rmdir()
    assert desk.run("submit", *GRID, "train.py")[1].split() == ["s-3", "s-4", "s-5", "s-6"]


def test_a_key_that_was_not_queued_is_free(desk: Desk) -> None:
    """Nothing says of it that it waits."""
    obstacle = desk.store / "studioml-meta/projects"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("")
    status, _, err = desk.run("submit", "--key", "k", "--project", "p", "train.py")
    assert status == 2
    assert "cannot be written" in err
    obstacle.unlink()
    assert desk.run("results", "k")[0] == 1
    assert desk.run("results", "--project", "p")[0] == 1
    assert desk.run("submit", "--key", "k", "--project", "p", "train.py")[0] == 0


@pytest.mark.parametrize("project", ["../../p", "a/../b", "a\nb", "x" * 300])
def test_a_project_is_refused_before_anything_is_stored(desk: Desk, project: str) -> None:
    """It names objects, and files."""
    status, _, err = desk.run("submit", "--project", project, "train.py")
    assert (status, "--project is" in err) == (2, True)
    assert not desk.store.exists()
    assert desk.run("results", "--project", project)[0] == 2


def test_a_project_may_have_slashes(desk: Desk) -> None:
    """As StudioML's own may."""
    assert desk.run("submit", "--key", "k", "--project", "team/vision", "train.py")[0] == 0
    assert desk.run("results", "--project", "team/vision")[1].startswith("key\toutcome\ttook\nk\t")


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
        (["--grid", 'lr="1,2'], "no list of values"),
        (["--store", "s3://AKIA:secret@h/b"], "an @ before 'h'"),
        (["--store", "s3://[x/b"], "--store is 's3://[x/b'"),
        (["--store", "s3://h:x/b"], "--store is 's3://h:x/b'"),
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
    assert "give another --key, or none" in err


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


def test_who_has_forgotten_the_name_is_told_the_latest(desk: Desk, swept: list[str]) -> None:
    """A sweep that nobody named has a name that nobody knows by heart."""
    assert swept
    assert "say which: a sweep, keys of experiments, or --project P" in desk.run("results")[2]
    assert desk.run("submit", "--grid", "a=1", "train.py")[0] == 0
    status, _, err = desk.run("results")
    assert status == 2
    assert re.search(r"; the latest sweeps are train-[0-9a-f-]+, s$", err)


def test_columns_have_each_their_own_name(desk: Desk) -> None:
    """Of a parameter, a number and a fact of one name each can be read, and sorted by."""
    grid = ("--grid", "seconds=3,20", "--grid", "loss=9", "--sweep", "t")
    keys = desk.run("submit", *grid, "train.py")[1].split()
    for number, key in enumerate(keys):
        end(desk, key, 1.0)
        told = json.dumps({"seconds": 7 - number, "loss": 0.5, "host": 1}).encode()
        put(LocalShop(desk.store), f"experiments/{key}/output.tar", packed({"./output": told}))
    rows = list(csv.DictReader(io.StringIO(desk.run("results", "t", "--csv")[1])))
    three = [(row["parameter/seconds"], row["seconds"], row["value/seconds"]) for row in rows]
    assert three == [("3", "65.0", "7.0"), ("20", "65.0", "6.0")]
    assert [(row["loss"], row["value/loss"], row["host"]) for row in rows] == [
        ("9", "0.5", "host")
    ] * 2
    header = desk.run("results", "t")[1].splitlines()[0].split("\t")
    assert len(set(header)) == len(header) == len(rows[0]) - 6
    for by, first in (("parameter/seconds", "3"), ("value/seconds", "20"), ("-loss", "3")):
        out = desk.run("results", "t", "--json", "--sort", by)[1]
        assert json.loads(out)[0]["parameters"]["seconds"] == first
    assert desk.run("plot", "t", "--x", "parameter/seconds", "--y", "value/seconds")[0] == 0
    assert desk.run("plot", "t", "--y", "value/seconds")[0] == 0
    assert "value/loss" in desk.run("results", "t", "--values", "value/loss")[1]


def test_columns_stay_where_they_are(desk: Desk) -> None:
    """Sorting moves rows alone."""
    desk.run("submit", "--grid", "a=1", "--sweep", "u", "train.py")
    desk.run("submit", "--grid", "b=1", "--sweep", "u", "train.py")
    unsorted = desk.run("results", "u")[1].splitlines()[0]
    assert desk.run("results", "u", "--sort", "b")[1].splitlines()[0] == unsorted


def test_a_cell_of_csv_may_have_anything(desk: Desk) -> None:
    """A carriage return would end a row for whoever reads it."""
    texts = ["a\rb", 'say "x"', "1,2", "=1+1", "λ"]
    quoted = ",".join('"' + text.replace('"', '""') + '"' for text in texts)
    assert desk.run("submit", "--grid", f"text={quoted}", "--sweep", "v", "train.py")[0] == 0
    out = desk.run("results", "v", "--csv")[1]
    assert [row["text"] for row in csv.DictReader(io.StringIO(out, newline=""))] == texts
    assert "\r\n" not in out


def test_a_number_that_nobody_told_is_noted(desk: Desk, swept: list[str]) -> None:
    """A word with a slip of the pen is no empty column without a word."""
    assert swept
    _, out, err = desk.run("results", "s", "--values", "acuracy")
    assert "no experiment told a number 'acuracy': they told accuracy, step" in err
    assert out.splitlines()[0].endswith("took\tacuracy")


def test_who_has_waited_gets_a_table(desk: Desk, swept: list[str]) -> None:
    """Whatever it should be sorted by."""
    end(desk, swept[3], 1.0)
    status, out, err = desk.run("results", "s", "--watch", "--sort", "lrr")
    assert (status, len(out.splitlines())) == (1, 5)
    assert "not sorted: --sort is 'lrr'" in err


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
    # Without colours a letter says which line is which.
    assert [line.strip() for line in out.splitlines()[-2:]] == ["a lr=0.1", "b lr=0.01"]
    assert "│a" in out
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
    first, last = values.split(",")
    [below] = [line for line in out.splitlines() if line.split() == [first, last]]
    assert below.endswith(last)
    assert desk.run("results", "s", "--sort", "kind")[0] == 0


def test_three_parameters_are_two_on_the_lines(desk: Desk) -> None:
    """A line for each value of all others: none goes back and forth."""
    grid = ("--grid", "a=1,2", "--grid", "b=1,2", "--grid", "c=1,2", "--sweep", "w")
    for key in desk.run("submit", *grid, "train.py")[1].split():
        end(desk, key, 1.0)
    legend = [
        line[2:] for line in desk.run("plot", "w", "--x", "b", "--y", "accuracy")[1].splitlines()
    ]
    assert legend[-4:] == ["a a=1 c=1", "b a=1 c=2", "c a=2 c=1", "d a=2 c=2"]
    chosen = desk.run("plot", "w", "--x", "b", "--y", "accuracy", "--by", "c")[1].splitlines()
    assert [line[2:] for line in chosen[-2:]] == ["a c=1", "b c=2"]


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "utf-8"])
def test_any_terminal_can_show_it(desk: Desk, encoding: str) -> None:
    """What its encoding lacks is drawn or written otherwise."""
    key = desk.run("submit", "--grid", "l_=1", "--sweep", "λ", "train.py")[1].split()
    end(desk, key[0], 1.0)
    environ = {**os.environ, "PYTHONIOENCODING": encoding}
    for argv in (["plot", "λ", "--y", "accuracy"], ["results", "λ"], ["results", "--help"]):
        command = [sys.executable, "-m", "runner", *argv]
        done = subprocess.run(command, capture_output=True, env=environ, check=False)
        assert done.returncode == 0, done.stderr
        text = done.stdout.decode(encoding)
        if argv[0] == "plot":
            assert ("│" if encoding == "utf-8" else "|") in text
            assert "a l_=1" in text
        elif "--help" not in argv:
            assert ("λ-1" if encoding == "utf-8" else "\\u03bb-1") in text


def test_a_curve_goes_over_the_step_that_was_told(desk: Desk) -> None:
    """The one that all tell; ``--x`` chooses another; where there is none the lines are counted."""
    first, second = desk.run("submit", "--grid", "a=1,2", "--sweep", "w", "train.py")[1].split()
    for key, scale in ((first, 1), (second, 10)):
        end(desk, key, 1.0)
        told = [{"loss": 9 - n, "step": 100 * n, "epoch": scale * n} for n in (1, 2)]
        text = "\n".join(map(json.dumps, told)).encode()
        put(LocalShop(desk.store), f"experiments/{key}/output.tar", packed({"./output": text}))
    results = list(Reader(LocalShop(desk.store)).results(of_sweep(LocalShop(desk.store), "w")))

    def drawn(x: str) -> tuple[str, list[tuple[float, float]]]:
        chart = over_steps(results, "loss", x)
        return chart.x, list(chart.curves[1].points)

    assert drawn("") == drawn("step") == ("step", [(100, 8), (200, 7)])
    assert drawn("epoch") == ("epoch", [(10, 8), (20, 7)])
    assert "loss over epoch" in desk.run("plot", "w", "--y", "loss", "--x", "epoch")[1]
    without = packed({"./output": b'{"loss": 8, "epoch": 1}\n{"loss": 7, "epoch": 1}'})
    put(LocalShop(desk.store), f"experiments/{first}/output.tar", without)
    results[0] = next(Reader(LocalShop(desk.store)).results(of_sweep(LocalShop(desk.store), "w")))
    assert drawn("") == ("step", [(1, 8), (2, 7)])
    results[1] = results[0]
    assert drawn("step") == ("step", [(1, 8), (2, 7)])


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
    # Neither is part of the next workspace; nothing is left where nothing came.
    assert "workspace: 2 files" in desk.run("submit", "train.py")[2]
    assert desk.run("fetch", swept[3])[0] == 1
    assert not Path(swept[3]).exists()
    status, _, err = desk.run("fetch", "s")
    assert (status, "'s' is a sweep: name one of its experiments, s-1 to s-4" in err) == (1, True)
    assert Path("w/workspace/train.py").read_text() == "print('hello')\n"


@pytest.mark.parametrize(
    "points",
    [
        [(1.0, 1.0)],
        [(0.0, -5.0), (0.0, 5.0)],
        [(1e-9, 3.0), (1e9, 3.0)],
        [(-1.7e308, 1.7e308), (1.7e308, -1.7e308)],
    ],
)
def test_any_numbers_can_be_drawn(points: list[tuple[float, float]]) -> None:
    """One point, a line straight up, a line straight across; all lines fit the width."""
    chart = Chart("x", "y", [Curve("c", points)])
    lines = ["".join(text for text, _ in line) for line in canvas.drawn(chart, 40, 8)]
    assert len(lines) == 1 + 8 + 2 + 1
    assert all(len(line) <= 40 for line in lines)
    assert any("⠀" < letter <= "⣿" for line in lines[1:9] for letter in line)


def test_names_stand_below_their_points() -> None:
    """As near as can be; those that do not fit are left out, and none is cut in two."""
    names = ["relu", "tanh", "sigmoid"]
    curve = Curve("c" * 90, [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)])
    for width in (12, 24, 40, 80):
        lines = ["".join(text for text, _ in line) for line in _lines(curve, names, width)]
        assert all(len(line) <= max(width, 13) for line in lines)
        shown = lines[-2].split()
        assert shown == names[: len(shown)]
    below = lines[-2]
    assert abs(below.index("tanh") - len(below) // 2) < 4


def _lines(curve: Curve, names: list[str], width: int) -> list[Sequence[tuple[str, str]]]:
    return list(canvas.drawn(Chart("x", "y", [curve], names), width, 4))


def test_what_is_too_wide_for_a_table_is_in_blocks() -> None:
    """Every name beside its value, nothing cut, and no wider than the terminal."""
    columns, row = ("key", "text", "loss"), ("k-1", "two words", "0.25")
    assert result_blocks.fits(columns, [row], 22)
    assert not result_blocks.fits(columns, [row], 21)
    lines = list(result_blocks.blocks(columns, [row, ("k-2", "", "1")], 18))
    assert lines == ["k-1", "  text=two words", "  loss=0.25", "k-2", "  loss=1"]
