"""Two machines that serve the same queues, one of each broker; the first has a run of each."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.brokers import KINDS
from benchmarks.recovering.scene import Json, Scene, answer, seconds_until
from tests import services
from tests.acceptance.accounts import Account
from tests.acceptance.box import Box

Send = Callable[[Json], object]
LEASE = 30.0
_OPTIONS = (
    *("--lease", f"{LEASE:.0f}s"),
    *("--queue-refresh", "1s"),
    "--allow-file-artifacts",
)


class Machines:
    """Two daemons with state directories ``a`` and ``b``."""

    def __init__(self, scene: Scene, senders: Mapping[str, Send]) -> None:
        """Return when the first one runs something from each queue, and the second one serves."""
        self._scene, self._senders = scene, senders
        self.first = scene.start("a", "--max-cores", "8")
        self._keys = {name: self._send(send) for name, send in senders.items()}
        seconds_until(lambda: len(scene.begun()) == len(senders), 0, "the runs")
        #: Received by the first one, which has no room for it.
        self.without_room = self._send(senders["local"], cpus=8)
        seconds_until(lambda: "waiting for room" in _phases(scene), 0, "one without room")
        scene.start("b")
        seconds_until(lambda: _serves(scene) >= len(senders), 0, "the second machine")

    def lose_the_first(self) -> None:
        """Switch it off."""
        self._scene.lose(self.first, "a")

    def each(self, is_so: Callable[[str], bool], since: float, what: str) -> dict[str, float]:
        """Return for each broker how long after ``since`` it is so of its experiment."""
        found = dict[str, float]()

        def are_all() -> bool:
            for name, key in self._keys.items():
                if name not in found and is_so(key):
                    found[name] = time.perf_counter() - since
            return len(found) == len(self._keys)

        seconds_until(are_all, since, what)
        return found

    def is_elsewhere(self, key: str) -> bool:
        """Tell whether the second one has claimed it."""
        return self._scene.claimed_by(key, "b")

    def was_redelivered(self, key: str) -> bool:
        """Tell whether the second one has received it."""
        return key in self._scene.box.log("b")

    def pickups(self) -> dict[str, float]:
        """Return for each broker how soon a fresh message is claimed."""
        found = {}
        for name, send in self._senders.items():
            time.sleep(1)  # its receive is open again
            begun = time.perf_counter()
            key = self._send(send)
            found[name] = seconds_until(lambda key=key: self.is_elsewhere(key), begun, "a pickup")  # type: ignore[misc]
        return found

    def _send(self, send: Send, cpus: int = 1) -> str:
        message = self._scene.experiment(cpus)
        send(message)
        return str(message["experiment"]["key"])


def _phases(scene: Scene) -> list[str]:
    said = answer(scene.socket("a"), "status")
    return [one["phase"] for one in said["running"]] if said else []


def _serves(scene: Scene) -> int:
    said = answer(scene.socket("b"), "status")
    return len(said["daemon"]["queues"]) if said else 0


@contextmanager
def two_machines() -> Iterator[Machines]:
    """Run brokers and daemons."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        root = Path(directory)
        accounts = {
            name: stack.enter_context(opened(root / name))
            for name, (service, opened) in KINDS.items()
            if not services.absence(service)
        }
        box = stack.enter_context(Box(root / "box"))
        variables, certs = dict[str, str](), box.root / "certs"
        certs.mkdir(mode=0o700)
        for name, account in accounts.items():
            variables |= account.variables
            account.write(certs / name)
        names = "|".join(("local", *(account.queue for account in accounts.values())))
        common = (*_OPTIONS, "--certs-dir", str(certs), "--queue-match", f"^({names})")
        scene = Scene(box, variables, *common)
        senders = {name: _sender(account) for name, account in accounts.items()}
        yield Machines(scene, {"local": box.publish, **senders})


def _sender(account: Account) -> Send:
    return lambda message: account.send(json.dumps(message))
