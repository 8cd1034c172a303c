"""``studio-runner queue`` with local queues, and what it refuses before it asks anybody."""

from __future__ import annotations

import io
import json

import pytest

from tests.cli.conftest import Desk


def test_list_counts(desk: Desk) -> None:
    """Every queue with its waiting messages, dead letters, and whether it is taken from."""
    desk.run("submit", "train.py")
    desk.run("submit", "--queue", "local://other", "train.py")
    status, out, _ = desk.run("queue", "list", "--json")
    assert status == 0
    common = {"broker": "local", "credential": None, "waiting": 1, "dead": 0}
    assert json.loads(out) == [
        {"queue": "local_default", "taken": "yes", **common},
        {"queue": "other", "taken": "no", **common},
    ]
    _, out, _ = desk.run("queue", "list", "other", "--json")
    assert [one["queue"] for one in json.loads(out)] == ["other"]
    _, out, _ = desk.run("queue", "list", "--queue-match", "other", "--json")
    assert [one["taken"] for one in json.loads(out)] == ["no", "yes"]


def test_peek_shows_what_waits(desk: Desk) -> None:
    """Key, script and needs of good messages; of a bad one why it cannot run."""
    desk.run("submit", "--key", "k1", "--cores", "2", "train.py", "--lr", "1")
    (desk.queue / "bad").write_text('{"experiment": {"key": "k2"}}')
    status, out, err = desk.run("queue", "peek", "local_default", "--json")
    by_key = {one["key"]: one for one in json.loads(out)}
    assert (status, err) == (0, "")
    assert by_key["k1"]["script"] == "train.py --lr 1"
    assert by_key["k1"]["cores"] == 2
    assert "cannot run: experiment.filename" in by_key["k2"]["script"]
    assert len(desk.messages()) == 2
    every = json.loads(desk.run("queue", "peek", "--json")[1])
    assert {one["id"] for one in every} == {one["id"] for one in by_key.values()}


def test_requeue_needs_to_know_which(desk: Desk) -> None:
    """Neither an id nor --all, or both, is a usage error; an unknown id is an error."""
    assert desk.run("queue", "requeue")[0] == 2
    assert desk.run("queue", "requeue", "local_default")[0] == 2
    assert desk.run("queue", "requeue", "local_default", "x", "--all")[0] == 2
    status, _, err = desk.run("queue", "requeue", "local_default", "nix")
    assert status == 1
    assert "no dead letter 'nix'" in err


def test_purge_asks_for_the_name(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes without the queue's name: typed on a terminal, ``--yes NAME`` in a script."""
    desk.run("submit", "train.py")
    status, _, err = desk.run("queue", "purge", "local_default")
    assert status == 2
    assert err == (
        "studio-runner: purge removes every message that waits in local_default: confirm with "
        "--yes local_default\n"
    )
    status, _, err = desk.run("queue", "purge", "local_default", "--yes", "local_other")
    assert status == 2
    assert "--yes is 'local_other', and the queue is called 'local_default'" in err

    typed = Terminal("no\n")
    monkeypatch.setattr("sys.stdin", typed)
    status, _, err = desk.run("queue", "purge", "local_default")
    assert status == 2
    assert "nothing was removed" in err
    assert len(desk.messages()) == 1
    monkeypatch.setattr("sys.stdin", Terminal("local_default\n"))
    status, out, err = desk.run("queue", "purge", "local_default")
    assert status == 0
    assert "1 removed from local_default" in out
    assert "will be removed, for good" in err
    assert desk.messages() == []


def test_purge_prints_json(desk: Desk) -> None:
    """For scripts: the queue and how many were removed."""
    desk.run("submit", "train.py")
    desk.run("submit", "train.py")
    argv = ["queue", "purge", "local://local_default", "--yes", "local_default", "--json"]
    status, out, _ = desk.run(*argv)
    assert status == 0
    assert json.loads(out) == {"queue": "local_default", "removed": 2}


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["purge"], "say which: studio-runner queue purge QUEUE"),
        (["peek", "--limit", "0"], "--limit is 0: give a whole number of at least 1"),
        (["peek", "local_x", "an-id"], "unexpected argument 'an-id': peek takes no ID"),
        (["peek", "gcp://x"], "QUEUE is 'gcp://x': write local://NAME"),
        (["peek", "pubsub://n_sub"], "names no project: write pubsub://PROJECT/NAME"),
        (["peek", "sqs://x"], "names no region: write sqs://REGION/NAME"),
        (["peek", "rabbitmq://x"], "names no server and none is configured"),
        (["peek", "sqs://r-1/x", "--credential", "mine"], "--credential 'mine' is none that"),
        (["list", "--credential", "mine"], "there is no source of queues"),
        (["list", "--queue-root", ""], "--queue-root, or one of credentials with --certs-dir"),
        (["peek", "--queue-root", ""], "name one with --queue-root"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(desk: Desk, argv: list[str], says: str) -> None:
    """Exit status 2, the option or argument, and what to write instead."""
    status, out, err = desk.run("queue", *argv)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_a_password_in_an_address_is_warned_of_and_not_shown(desk: Desk) -> None:
    """Everybody can read the command line; what we print shows the queue without it."""
    status, out, err = desk.run("queue", "purge", "amqp://me:hunter22@127.0.0.1:1/v?rmq_x")
    assert status == 2
    assert "note: the password in QUEUE can be read by every user" in err
    assert "amqp://127.0.0.1:1/v?rmq_x" in err
    assert "hunter22" not in out + err


def test_the_help_keeps_its_lines(desk: Desk) -> None:
    """Each action has a line of its own, and every form of an address is there."""
    out = desk.run("queue", "--help")[1]
    for action in ("list", "peek [QUEUE]", "dead [QUEUE]", "requeue QUEUE ID…", "purge QUEUE"):
        assert f"\n  {action} " in out
    assert "\n  pubsub://[PROJECT/]SUBSCRIPTION\n" in out


class Terminal(io.StringIO):
    """What somebody types."""

    def isatty(self) -> bool:
        """Say that a person is there."""
        return True


def test_a_credential_that_is_none_is_told_of_where_none_fits(desk: Desk) -> None:
    """Once, and only when what was named is opened with nothing that is configured."""
    place = desk.root / "certs/aws/lab"
    place.mkdir(parents=True)
    (place / "credentials").write_text("[default]\naws_access_key_id = A\n")
    status, _, err = desk.run("queue", "peek", "sqs://x")
    assert status == 2
    note, error = err.splitlines()
    assert note.startswith(f"note: {place}")
    assert "names no region" in error
    assert desk.run("queue", "list")[2].splitlines() == [note, "Queues: none"]
    assert desk.run("queue", "list", "local_x", "--json")[2] == ""
