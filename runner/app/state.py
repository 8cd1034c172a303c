"""Follows what a file and the ConfigMaps of a cluster say about claiming (protocol.md 8.2)."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio.abc import TaskGroup

from runner import blocking, log
from runner.errors import Unavailable
from runner.lifecycle.chore import Chore
from runner.lifecycle.claiming.suspension import Intent, Suspension, intent
from runner.settings import Settings

if TYPE_CHECKING:
    from runner.app.kubernetes import Cluster

_log = log.get_logger(__name__)

_LIMIT = blocking.Limit(2)
#: A look at a file takes microseconds; being told of a change would not be sooner by much, and a
#: ConfigMap's links and a file that is not there yet want the look all the same.
_FILE_SECONDS = 1.0
_CLUSTER_SECONDS = 15.0
_LONGEST_FILE = 1024


class Place(Protocol):
    """Where somebody says what is wanted."""

    @property
    def name(self) -> str:
        """Say for people where."""

    def read(self) -> str:
        """Return what is written there, empty where nobody says anything. Blocks.

        Raises Unavailable when that cannot be known now.
        """


@dataclass(frozen=True)
class StateFile:
    """A file, or the mounted key of a ConfigMap, which is replaced as a whole behind links."""

    path: Path

    @property
    def name(self) -> str:
        """See ``Place``."""
        return f"STATE in {self.path}"

    def read(self) -> str:
        """See ``Place``."""
        try:
            with self.path.open("rb") as file:
                return file.read(_LONGEST_FILE).decode("utf-8", "replace").strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise Unavailable(f"--state-file {self.path} cannot be read: {error}") from error


@dataclass(eq=False)
class Follower:
    """Passes on what one place says; whatever it says that is no word changes nothing."""

    place: Place
    suspension: Suspension
    seconds: float
    _complaint: str = ""

    async def look(self) -> None:
        """Ask once."""
        try:
            text = await blocking.call(lambda _: self.place.read(), limit=_LIMIT)
        except Unavailable as trouble:
            self._complain(str(trouble))
            return
        wish = intent(text or Intent.RUNNING)
        if wish is None:
            known = ", ".join(Intent)
            self._complain(f"{self.place.name} is {text[:80]!r}, which is none of {known}")
            return
        self._complaint = ""
        self.suspension.wish(self.place.name, wish)

    async def follow(self) -> None:
        """Ask again and again, until cancelled."""
        while True:
            await anyio.sleep(self.seconds)
            await self.look()

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            _log.warning("what is wanted stays as it was", trouble=text)
        self._complaint = text


async def follow(settings: Settings, suspension: Suspension, background: TaskGroup) -> None:
    """Heed what is said now, and go on following it in the background."""
    for place, seconds in places(settings):
        follower = Follower(place, suspension, seconds)
        await follower.look()
        background.start_soon(Chore(f"following {place.name}", follower.follow).keep)


def places(
    settings: Settings, cluster: Callable[[], Cluster | None] | None = None
) -> list[tuple[Place, float]]:
    """Return what is followed, and how often it is asked; ``cluster`` finds the one around us."""
    found: list[tuple[Place, float]] = []
    if settings.state_file is not None:
        found.append((StateFile(settings.state_file), _FILE_SECONDS))
    if settings.given("k8s_configmap"):
        # What speaks HTTP is not loaded where nobody asks a cluster.
        from runner.app.kubernetes import Cluster, ConfigMaps  # noqa: PLC0415

        around = (cluster or Cluster.around_us)()
        if around is None:
            _log.warning("--k8s-configmap is without effect: this is no pod with a service account")
        else:
            namespace = settings.k8s_namespace if settings.given("k8s_namespace") else ""
            host = os.environ.get("HOSTNAME") or socket.gethostname()
            names = (host, settings.k8s_configmap)
            found.append((ConfigMaps(around, namespace, names), _CLUSTER_SECONDS))
    return found
