"""An operator's day: credentials come into a running daemon's directory, change, and go."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import anyio
import pytest

from runner.control.client import ask
from tests.acceptance.accounts import Account
from tests.acceptance.box import PATIENCE, Box, until

GO = """
import pathlib, time
print('begun', flush=True)
while not pathlib.Path({go!r}).exists():
    time.sleep(0.01)
print('done')
"""


class Operator:
    """A running daemon and the directory that it watches."""

    def __init__(self, box: Box, variables: Mapping[str, str], match: str = "") -> None:
        """``match``: of which queues alone; a server may have what other tests have left."""
        self._match = ["--queue-match", match] if match else []
        self.box = box
        self.certs = box.root / "certs"
        self.certs.mkdir(mode=0o700)
        self._variables = variables
        self._starts = 0
        self._queues = set[str]()
        self.start()

    def start(self) -> None:
        """Start a daemon."""
        self._starts += 1
        self.daemon = self.box.start(
            *("--certs-dir", str(self.certs)),
            *("--lease", "6s"),
            *("--queue-refresh", "1s"),
            "--allow-file-artifacts",
            *self._match,
            variables=self._variables,
        )
        self.sees("waiting for experiments", self._starts)

    def put(self, account: Account, name: str = "lab") -> None:
        """Copy a credential into the directory, or another one over it."""
        self._queues.add(account.queue)
        draft = self.box.root / "draft"
        account.write(draft)
        shutil.copytree(draft, self.certs / name, dirs_exist_ok=True)
        shutil.rmtree(draft)

    def take(self, name: str = "lab") -> None:
        """Remove it."""
        shutil.rmtree(self.certs / name)

    def send(self, account: Account, script: str = "print('x')") -> str:
        """Send an experiment through the account's queue."""
        message = self.box.message(script)
        key = str(message["experiment"]["key"])
        status = self.box.root / "store" / "meta" / "experiments" / key
        status.write_text(json.dumps(message["experiment"]))
        account.send(json.dumps(message))
        return key

    def begun(self, account: Account) -> str:
        """Put the credential down, and have an experiment run that ends when the test says so."""
        self.put(account)
        key = self.send(account, GO.format(go=str(self.box.root / "go")))
        until(lambda: "begun" in self.box.live_output() or None, "a run", self.box.log)
        return key

    def ends(self, key: str) -> None:
        """Say so, and see that it was the first attempt and that nothing is left of it."""
        (self.box.root / "go").touch()
        outcome = self.box.outcome(key)
        assert (outcome["cause"], outcome["attempt"]) == ("completed", 1)
        self.box.wait_until_clean()

    def sees(self, text: str, times: int = 1) -> None:
        """Wait until the log says it so often."""
        until(lambda: self.box.log().count(text) >= times or None, text, self.box.log)

    async def queues(self) -> list[str]:
        """Return what the daemon takes from."""
        async for item in ask(self.box.state / "control.sock", "status"):
            return sorted(queue["name"] for queue in item["daemon"]["queues"])
        raise AssertionError("no status")

    async def takes_from(self, *names: str) -> None:
        """Wait until of the accounts' queues the daemon takes from exactly these.

        A server may have further ones, which other tests have left.
        """
        with anyio.fail_after(PATIENCE):
            # Another process tells it when it is asked.
            while set(await self.queues()) & self._queues != set(names):  # noqa: ASYNC110
                await anyio.sleep(0.05)


class OperatorsDay:
    """What every kind of credential does."""

    @pytest.fixture
    def box(self, tmp_path: Path) -> Iterator[Box]:
        """Return a machine of its own for every test."""
        with Box(tmp_path) as box:
            yield box

    @pytest.fixture
    def account(self) -> Account:
        """Return an account."""
        raise NotImplementedError

    @pytest.fixture
    def operator(self, box: Box, account: Account) -> Operator:
        """Start a daemon with an empty directory of credentials."""
        return Operator(box, account.variables, f"^(local|{account.queue})")

    async def test_work_starts_with_a_credential_and_stops_with_it(
        self, operator: Operator, account: Account
    ) -> None:
        """Dropped in by a copy it brings queues, removed it takes them; nothing else is touched."""
        first = operator.send(account)
        operator.put(account)
        assert operator.box.outcome(first)["cause"] == "completed"
        await operator.takes_from(account.queue)
        operator.take()
        await operator.takes_from()
        # A receive that is still open brings it, and gives it back.
        operator.send(account)
        operator.sees("broker closed")
        until(lambda: account.waiting() == 1 or None, "a message that nobody takes")
        assert account.theirs() == [0]
        operator.put(account)
        until(lambda: len(operator.box.settled()) == 2 or None, "the second one", operator.box.log)
        operator.box.wait_until_clean()
        assert operator.box.complaints() == []
        operator.daemon.terminate()
        operator.sees('"draining"')
        operator.send(account)
        assert operator.daemon.wait(PATIENCE) == 0
        until(lambda: account.waiting() == 1 or None, "a message that came too late")
        for secret in ("a-very-secret-value", "password-number"):
            assert secret not in operator.box.log()

    async def test_a_rotation_with_an_experiment_running_loses_nothing(
        self, operator: Operator, account: Account
    ) -> None:
        """The run keeps its message for leases, another comes, and both are settled once."""
        long = operator.begun(account)
        operator.put(account)
        operator.sees("credential renewed")
        short = operator.send(account)
        assert operator.box.outcome(short)["cause"] == "completed"
        await anyio.sleep(8)  # longer than a lease
        operator.ends(long)
        assert [one["settled"] for one in operator.box.settled()] == ["acked", "acked"]
        assert account.waiting() == 0
        assert operator.box.complaints() == []

    async def test_the_next_daemon_takes_over_run_and_message(
        self, operator: Operator, account: Account
    ) -> None:
        """The first one was killed: nobody else gets the message, and the run goes on."""
        key = operator.begun(account)
        operator.box.kill(operator.daemon)
        operator.start()
        operator.sees("adopted")
        await anyio.sleep(8)  # longer than a lease
        operator.ends(key)
        assert operator.box.settled()[0]["settled"] == "acked"
        assert account.waiting() == 0
        assert operator.box.complaints() == []

    async def test_a_credential_that_went_while_no_daemon_ran_costs_no_run(
        self, operator: Operator, account: Account
    ) -> None:
        """The run finishes and uploads; its message is left to expire, to a record that ended."""
        key = operator.begun(account)
        operator.box.kill(operator.daemon)
        operator.take()
        operator.start()
        operator.sees("its queue is not served")
        operator.ends(key)
        assert operator.box.output(key) == "begun\ndone\n"
        operator.put(account)
        until(lambda: len(operator.box.settled()) == 2 or None, "its message", operator.box.log)
        assert operator.box.settled()[1]["cause"] == "not-ours"
        assert operator.box.settled()[1]["settled"] == "acked"
        assert operator.box.complaints() == []

    async def test_a_mount_that_is_swapped_is_a_rotation(
        self, operator: Operator, account: Account
    ) -> None:
        """As Kubernetes does it: links into a hidden directory, which is exchanged in one step."""
        place = operator.certs / "lab"
        place.mkdir()
        for number, key in enumerate(("begun", "swapped")):
            account.write(place / f"..2026_{number}")
            (place / "..data_new").symlink_to(f"..2026_{number}")
            (place / "..data_new").rename(place / "..data")
            for file in (place / f"..2026_{number}").iterdir():
                link = place / file.name
                link.unlink(missing_ok=True)
                link.symlink_to(f"..data/{file.name}")
            shutil.rmtree(place / f"..2026_{number - 1}", ignore_errors=True)
            operator.sees("credential found" if key == "begun" else "credential renewed")
            assert operator.box.outcome(operator.send(account))["cause"] == "completed"
        assert operator.box.log().count("credential found") == 1
        assert "credential gone" not in operator.box.log()
        assert operator.box.complaints() == []

    async def test_a_credential_that_goes_leaves_its_run_to_finish(
        self, operator: Operator, account: Account
    ) -> None:
        """The message is kept until then, and settled; then the broker is closed."""
        key = operator.begun(account)
        operator.take()
        await operator.takes_from()
        await anyio.sleep(8)  # longer than a lease
        assert "broker closed" not in operator.box.log()
        operator.ends(key)
        operator.sees("broker closed")
        assert [one["settled"] for one in operator.box.settled()] == ["acked"]
        assert account.waiting() == 0
