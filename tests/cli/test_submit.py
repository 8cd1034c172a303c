"""What ``submit`` packs, writes and queues."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tarfile
from datetime import timedelta
from pathlib import Path

import pytest

from runner.model import Cause, Message, Request
from runner.request.schema import decode
from tests.cli.conftest import Desk


def _request(desk: Desk) -> Request:
    [message] = desk.messages()
    return decode(Message("id", json.dumps(message).encode(), "local_default"))


def test_the_message_is_the_clients(desk: Desk) -> None:
    """Top-level members, artifacts and addresses are those that StudioML's client writes."""
    status, out, err = desk.run("submit", "--key", "k1", "--project", "p", "train.py")
    assert (status, out) == (0, "k1\n")
    assert "1 files" in err or "2 files" in err
    assert "requirements.txt" in err
    [message] = desk.messages()
    assert set(message) == {"experiment", "config"}
    artifacts = message["experiment"]["artifacts"]
    results = ["modeldir", "retval", "output", "tb", "_metrics", "_metadata"]
    assert list(artifacts) == ["workspace", *results]
    assert artifacts["output"] == {
        "unpack": True,
        "mutable": True,
        "key": "experiments/k1/output.tar",
        "qualified": f"file:/{desk.store}/storage/experiments/k1/output.tar",
    }
    assert message["config"]["storage"] == {
        "type": "local",
        "endpoint": str(desk.store),
        "bucket": "storage",
    }


def test_the_message_decodes_to_what_was_asked_for(desk: Desk) -> None:
    """Arguments, needs, times, variables and retries arrive as they were written."""
    args = ["--lr", "0.1", "two words", "it's", "$(rm -rf /)", "--", "-x"]
    options = [
        "--cores",
        "2",
        "--memory",
        "3gib",
        "--disk",
        "4gb",
        "--gpus",
        "2",
        "--gpu-memory",
        "8gib",
        "--max-duration",
        "20m",
        "--lifetime",
        "48h",
        "--checkpoint",
        "1m",
        "--retry-on",
        "exit,signal",
        "--max-attempts",
        "5",
        "--python",
        "3.12",
    ]
    assert desk.run("submit", *options, "--env", "A=b=c", "train.py", *args)[0] == 0
    request = _request(desk)
    assert request.experiment.args == tuple(args)
    assert request.experiment.requirements == ("attrs==23.2.0",)
    assert request.experiment.python_version == "3.12"
    assert request.experiment.max_duration == timedelta(minutes=20)
    needs = request.needs
    assert (needs.cores, needs.memory, needs.disk) == (2, 3 * 2**30, 4 * 10**9)
    assert (needs.gpu_count, needs.gpu_memory) == (2, 8 * 2**30)
    assert (request.lifetime, request.checkpoint_interval) == (
        timedelta(hours=48),
        timedelta(minutes=1),
    )
    assert request.env == {"A": "b=c"}
    assert request.retry_on == frozenset({Cause.EXIT, Cause.SIGNAL})
    assert request.max_attempts == 5
    assert request.warnings == ()


def test_the_trace_of_the_caller_goes_along(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As W3C writes it, in whichever version; without the variable nothing is different."""
    monkeypatch.delenv("TRACEPARENT", raising=False)
    assert desk.run("submit", "train.py")[0] == 0
    [before] = desk.messages()
    assert "runner" not in before["config"]
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    monkeypatch.setenv("TRACEPARENT", f"cc-{trace}-{span}-01-more")
    shutil.rmtree(desk.queue)
    assert desk.run("submit", "--max-attempts", "2", "train.py")[0] == 0
    request = _request(desk)
    assert (request.traceparent, request.max_attempts) == (f"00-{trace}-{span}-01", 2)
    assert request.warnings == ()


@pytest.mark.parametrize(
    ("written", "options", "says"),
    [
        ("00-nonsense", [], "note: TRACEPARENT is '00-nonsense', no trace as W3C describes it"),
        (f"00-{'0' * 32}-{'a' * 16}-01", [], "no trace as W3C"),
        ("\x1b[31m" + "x" * 9000, [], r"TRACEPARENT is '\x1b[31mxxx"),
        ("", [], ""),
        (f"00-{'a' * 32}-{'b' * 16}-01", ["--env", "TRACEPARENT=mine"], ""),
    ],
)
def test_a_trace_that_is_none_is_ignored(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, written: str, options: list[str], says: str
) -> None:
    """With a short note; one that the experiment is given by hand counts before."""
    monkeypatch.setenv("TRACEPARENT", written)
    status, _, err = desk.run("submit", *options, "train.py")
    assert status == 0
    assert says in err
    assert "TRACEPARENT" not in err or says
    assert len(err) < 1000
    [message] = desk.messages()
    assert "runner" not in message["config"]


def test_a_module_is_run_as_such(desk: Desk) -> None:
    """``-m`` makes the first word a module."""
    assert desk.run("submit", "-m", "package.module", "--x")[0] == 0
    experiment = _request(desk).experiment
    assert (experiment.filename, experiment.args) == ("-m", ("package.module", "--x"))


def test_the_workspace_lies_below_its_digest(desk: Desk) -> None:
    """The packed workspace is named by its own SHA-256 and holds what is not ignored."""
    Path(".gitignore").write_text("data/\n")
    Path("data").mkdir()
    Path("data/big.bin").write_bytes(b"x" * 100)
    Path(".git").mkdir()
    assert desk.run("submit", "train.py")[0] == 0
    path = Path(_request(desk).artifacts["workspace"].location.key)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
    with tarfile.open(path) as archive:
        assert archive.getnames() == [".gitignore", "requirements.txt", "train.py"]
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_the_database_knows_the_experiment(desk: Desk) -> None:
    """The client's database holds the experiment, its user's and its project's entry."""
    desk.run("submit", "--key", "k1", "--project", "p", "train.py")
    database = desk.store / "studioml-meta"
    stored = json.loads((database / "experiments" / "k1").read_bytes())
    assert stored == desk.messages()[0]["experiment"]
    assert stored["status"] == "waiting"
    assert float((database / "users/guest/experiments/k1").read_text()) == stored["time_added"]
    assert json.loads((database / "projects/p/k1/owner").read_text()) == "guest"


def test_keys_are_made_and_are_not_taken_twice(desk: Desk) -> None:
    """Without --key each submission has one of its own; a key in use is refused."""
    keys = {desk.run("submit", "train.py")[1].strip() for _ in range(3)}
    assert len(keys) == 3
    assert all(key.startswith("train-") for key in keys)
    status, _, err = desk.run("submit", "--key", keys.pop(), "train.py")
    assert status == 2
    assert "give another --key, or none" in err


def test_json_tells_a_script_what_was_queued(desk: Desk) -> None:
    """``--json`` prints one object with key, queue, workspace and store."""
    _, out, _ = desk.run("submit", "--json", "--queue", "local_x", "train.py")
    facts = json.loads(out)
    assert facts["queue"] == "local_x"
    assert facts["store"] == str(desk.store)
    assert (desk.root / "queues" / "local_x").is_dir()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["absent.py"], "'absent.py' is not in"),
        (["../train.py"], "is not in"),
        ([], "name what to run"),
        (["--memory", "lots", "train.py"], "--memory is 'lots': give a size"),
        (["--memory", "16", "train.py"], "--memory is '16', 16 bytes: give a size such as 16gib"),
        (["--cores", "-1", "train.py"], "--cores is '-1'"),
        (["--max-duration", "10", "train.py"], "--max-duration is '10': give a duration"),
        (["--gpu-memory", "1gb", "train.py"], "--gpus 1"),
        (["--env", "A", "train.py"], "give NAME=VALUE"),
        (["--container", "shub://a/b", "train.py"], "Singularity Hub"),
        (["--container", "docker://a b", "train.py"], "--container is 'docker://a b'"),
        (["--container", "ubuntu", "train.py"], "_singularity"),
        (["--python", "three", "train.py"], "--python is 'three'"),
        (["--key", "a/../b", "train.py"], "experiment.key"),
        (["--retry-on", "boredom", "train.py"], "boredom"),
        (["--requirements", "absent.txt", "train.py"], "absent.txt cannot be read"),
        (["--queue", "a/b", "train.py"], "local queue"),
        (["--coers", "2", "train.py"], "did you mean --cores?"),
    ],
)
def test_what_cannot_be_submitted_is_refused_here(desk: Desk, argv: list[str], words: str) -> None:
    """One sentence on stderr, exit status 2, and nothing in the queue."""
    status, out, err = desk.run("submit", *argv)
    assert (status, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
    assert not desk.queue.exists() or desk.messages() == []


@pytest.mark.parametrize("image", ["docker://python:3.11", "/srv/images/a.sif", "s3://h/b/a.sif"])
def test_a_container_is_the_artifact_of_the_original_client(desk: Desk, image: str) -> None:
    """Of this machine's Python and packages nothing is asked for: the image has its own."""
    Path("requirements.txt").unlink()
    assert desk.run("submit", "--container", image, "train.py")[0] == 0
    [message] = desk.messages()
    assert message["experiment"]["artifacts"]["_singularity"] == {
        "qualified": image,
        "mutable": False,
    }
    request = _request(desk)
    assert not request.artifacts["_singularity"].unpack
    assert request.experiment.python_version is None
    assert request.experiment.requirements == ()


def test_a_script_that_is_left_out_is_refused(desk: Desk) -> None:
    """The sentence says why the script would not be in the workspace."""
    Path(".studioignore").write_text("train.py\n")
    _, _, err = desk.run("submit", "train.py")
    assert "'train.py' would be left out" in err
    assert ".studioignore" in err


def test_a_large_workspace_needs_a_yes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 500 MB a script must say --yes; nothing is packed before."""
    with Path("big.bin").open("wb") as file:
        os.truncate(file.fileno(), 600_000_000)
    with open(os.devnull) as nothing:  # noqa: PTH123 - a stream for stdin
        monkeypatch.setattr(sys, "stdin", nothing)
        status, _, err = desk.run("submit", "train.py")
    assert status == 2
    assert "572.2 MiB: say --yes" in err
    assert not desk.store.exists()


def test_a_store_that_cannot_be_written_is_one_sentence(desk: Desk) -> None:
    """A store that is a file is named, with the reason."""
    (desk.root / "file").write_text("")
    status, _, err = desk.run("submit", "--store", str(desk.root / "file"), "train.py")
    assert status == 2
    assert f"the store {desk.root / 'file'} cannot be written to" in err


def test_requirements_of_several_files_and_includes(desk: Desk) -> None:
    """Files are read in order, with includes, continued lines, hashes and comments."""
    Path("base.txt").write_text("numpy==1.26.4 \\\n    --hash=sha256:abc\n")
    Path("more.txt").write_text("-r base.txt\n# nothing\nrequests>=2; python_version>'3'\n")
    argv = ["--requirements", "more.txt", "--requirements", "requirements.txt", "train.py"]
    assert desk.run("submit", *argv)[0] == 0
    assert _request(desk).experiment.requirements == (
        "numpy==1.26.4",
        "requests>=2; python_version>'3'",
        "attrs==23.2.0",
    )


@pytest.mark.parametrize("line", ["--index-url https://x", "-e .", "./local.whl", "-c other.txt"])
def test_a_line_that_runners_refuse_is_refused_here(desk: Desk, line: str) -> None:
    """Options and local paths in a requirements file are named with their file."""
    Path("requirements.txt").write_text(f"{line}\n")
    status, _, err = desk.run("submit", "train.py")
    assert status == 2
    assert "requirements.txt" in err
    assert line in err


def test_requirements_of_the_project(desk: Desk) -> None:
    """Without a requirements file those of pyproject.toml are taken."""
    Path("requirements.txt").unlink()
    Path("pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["attrs>=23"]\n')
    _, _, err = desk.run("submit", "train.py")
    assert _request(desk).experiment.requirements == ("attrs>=23",)
    assert "1 from" in err
    assert "pyproject.toml" in err


def test_requirements_of_the_environment(desk: Desk) -> None:
    """Without either, the pins of what is installed, and neither the runner nor what it needs."""
    Path("requirements.txt").unlink()
    _, _, err = desk.run("submit", "train.py")
    names = {line.partition("==")[0].lower() for line in _request(desk).experiment.requirements}
    assert "pytest" in names
    assert not names & {"studio-runner", "studio_runner", "pip", "anyio", "idna", "boto3"}
    assert f"the packages of {sys.prefix}" in err


def test_requirements_of_an_activated_environment(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An activated environment counts before the runner's own."""
    Path("requirements.txt").unlink()
    package = desk.root / "venv/lib/python3.11/site-packages/thing-1.5.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1.5\n")
    monkeypatch.setenv("VIRTUAL_ENV", str(desk.root / "venv"))
    desk.run("submit", "train.py")
    assert _request(desk).experiment.requirements == ("thing==1.5",)


def test_the_file_of_config_may_name_the_store(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file serves the daemon and its clients; a flag wins over it, and it over a variable."""
    (desk.root / "config.yaml").write_text(f"store: {desk.root / 'filed'}\nmax_cores: 3\n")
    config = ["--config", str(desk.root / "config.yaml")]
    monkeypatch.setenv("STUDIO_RUNNER_STORE", str(desk.root / "variable"))
    assert desk.run("submit", "--key", "k1", "train.py")[0] == 0
    assert desk.run("submit", *config, "--key", "k2", "train.py")[0] == 0
    flag = ["--store", str(desk.root / "flag")]
    assert desk.run("submit", *config, *flag, "--key", "k3", "train.py")[0] == 0
    stores = {one["experiment"]["key"]: one["config"]["storage"] for one in desk.messages()}
    named = {key: Path(store["endpoint"]).name for key, store in stores.items()}
    assert named == {"k1": "variable", "k2": "filed", "k3": "flag"}
    assert desk.run("config", *config)[0] == 0
    assert desk.run("status", *config, "k2")[0] == 0
    assert desk.run("cancel", *config, "k2")[0] == 0


@pytest.mark.parametrize(
    ("queue", "says"),
    [
        ("sqs://eu-west-1/x", "sqs://eu-west-1/x is taken from by other machines, which cannot"),
        ("pubsub://p-1/n_sub", "name a bucket with --store s3://HOST/BUCKET"),
        ("amqp://127.0.0.1:1/v?x", "or with the key store in the file of --config"),
        ("sqs://x", "names no region"),
        ("nix://x", "--queue is 'nix://x': write local://NAME"),
    ],
)
def test_a_queue_that_cannot_work_is_refused_before_anything_is_packed(
    desk: Desk, queue: str, says: str
) -> None:
    """A directory here is of no use to runners elsewhere; nobody was asked yet."""
    status, _, err = desk.run("submit", "--queue", queue, "train.py")
    assert status == 2
    assert says in err
    assert err.count("\n") == 1
    assert not desk.store.exists()
