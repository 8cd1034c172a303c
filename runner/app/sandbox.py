"""Which sandbox experiments run in: the one that is asked for, or the best that starts here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from runner import blocking, log
from runner.app.hidden import credentials
from runner.app.places import Places
from runner.app.trials import trial
from runner.errors import Misconfigured
from runner.sandboxes import SANDBOXES
from runner.sandboxes.base import Sandbox
from runner.settings import Settings

__all__ = [
    "AUTO",
    "Choice",
    "check_name",
    "choose",
    "chosen",
    "container_sandbox",
    "load_container_sandbox",
    "trial",
]

_log = log.get_logger(__name__)

_LIMIT = blocking.Limit(1)

AUTO = "auto"
#: The best first; the last one starts everywhere.
_TRIED = ("bwrap", "plain")
#: Of images, for experiments that have one.
CONTAINERS = "apptainer"


@dataclass(frozen=True, slots=True)
class Choice:
    """A sandbox, and in one sentence why it is this one."""

    sandbox: Sandbox
    why: str


async def chosen(settings: Settings, places: Places) -> Sandbox:
    """Return the sandbox, which has started something, and log why it is this one.

    Raises Misconfigured where none of what is asked for starts, and where ``auto`` leaves cloud
    credentials open to experiments.
    """
    check_name(settings)
    choice = await choose(settings.sandbox, places, network=has_network(settings))
    _log.info(choice.why, sandbox=choice.sandbox.name)
    _check_open(settings, places, choice.sandbox)
    return choice.sandbox


def has_network(settings: Settings) -> bool:
    """Tell whether experiments may reach the network."""
    return settings.network == "on"


async def choose(name: str, places: Places, *, network: bool = True) -> Choice:
    """Try what is called ``name``, or one after the other. Raises Misconfigured.

    Plain runs need nothing, so they are not tried when they are asked for; without a network they
    do. What is for images alone leaves what has none to the best of the others.
    """
    if name == AUTO:
        return await _best("experiments run", places, network=network)
    if name == CONTAINERS:
        return await _best("what is built outside an image is built", places, network=network)
    sandbox = await _loaded(name)
    trouble = await _trouble(sandbox, places, network=network)
    if trouble:
        raise Misconfigured(
            f"--sandbox {name} cannot be had on this machine{_without(network)}: {trouble}; let "
            f"it, or choose another one ({', '.join(sorted(SANDBOXES))} or {AUTO})"
        )
    return Choice(sandbox, f"experiments run in the sandbox {name!r}, as --sandbox says")


async def _best(who: str, places: Places, *, network: bool) -> Choice:
    troubles = list[str]()
    for name in _TRIED:
        sandbox = await _loaded(name)
        trouble = await _trouble(sandbox, places, network=network)
        if not trouble:
            why = "; ".join(troubles) if troubles else "it starts here"
            return Choice(sandbox, f"{who} in the sandbox {name!r}: {why}")
        troubles.append(f"{name} does not start: {trouble}")
    raise Misconfigured(
        f"no sandbox starts on this machine{_without(network)}: {'; '.join(troubles)}"
    )


def _without(network: bool) -> str:  # noqa: FBT001 - a word of the sentence
    return "" if network else " with --network off"


async def _trouble(sandbox: Sandbox, places: Places, *, network: bool) -> str:
    if sandbox.name == _TRIED[-1] and network:
        return ""
    return await trial(sandbox, places, network=network)


async def container_sandbox(
    settings: Settings, places: Places, image: Path | None = None
) -> Choice:
    """Return the sandbox of experiments with an image, which has started something.

    In ``image`` where there is one that experiments may have, else with this machine's programs.
    Raises Misconfigured with one sentence where it does not start.
    """
    sandbox = load_container_sandbox()
    trouble = await trial(sandbox, places, image=image, network=has_network(settings))
    if trouble:
        raise Misconfigured(
            f"no container can be started on this machine{_without(has_network(settings))}: "
            f"{trouble}"
        )
    return Choice(sandbox, f"experiments with an image run in the sandbox {CONTAINERS!r}")


def load_container_sandbox() -> Sandbox:
    """Return the sandbox of experiments with an image, which has started nothing yet."""
    return _load(CONTAINERS)


async def _loaded(name: str) -> Sandbox:
    """Load it beside what the daemon tries meanwhile: it asks a process what can be mounted."""
    return await blocking.call(lambda _: _load(name), limit=_LIMIT)


def _load(name: str) -> Sandbox:
    return cast("Sandbox", SANDBOXES.load(name)())


def check_name(settings: Settings) -> None:
    """Raise Misconfigured for a sandbox that there is not or has no image; nothing is started."""
    if settings.sandbox == CONTAINERS and not settings.container.strip():
        raise Misconfigured(
            f"--sandbox {CONTAINERS} needs an image for experiments that bring none: name one with "
            f"--container, or choose --sandbox {AUTO}, which runs in images those that bring one"
        )
    if settings.sandbox != AUTO:
        SANDBOXES.load(settings.sandbox)


def _check_open(settings: Settings, places: Places, sandbox: Sandbox) -> None:
    """Nobody meant that experiments read the credentials where nobody chose the sandbox."""
    if sandbox.hides or places.identity is not None or (settings.sandbox not in {AUTO, CONTAINERS}):
        return
    readable = next((path for path in credentials(settings) if _holds_any(path)), None)
    if readable is not None:
        raise Misconfigured(
            f"no sandbox that hides anything starts on this machine, so experiments could read "
            f"{readable}: allow user namespaces or run the daemon as root with --run-as USER, or "
            "accept it with --sandbox plain"
        )


def _holds_any(path: Path) -> bool:
    try:
        return path.is_file() or any(not one.name.startswith(".") for one in path.iterdir())
    except OSError:
        return False
