"""What a reload would change of the options, and whether it can. Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from runner.redaction import Secret
from runner.settings import OPTIONS, Settings
from runner.settings.option import Option
from runner.settings.origins import Source
from runner.settings.written import written

#: What leads to the daemon's own records and its control socket: only a new daemon can have others.
_NEVER = frozenset({"state-dir"})
#: Where what runs lies, is locked, or is held by: it would not be found again.
_WHILE_NOTHING_RUNS = frozenset({"working-dir", "lock-dir", "queue-root"})
#: What a run is started with and keeps until its end.
_OF_NEW_RUNS = frozenset(
    {
        "sandbox",
        "network",
        "bind",
        "run-as",
        "expose-env",
        "output-limit",
        "max-duration-cap",
        "kill-grace",
        "orphan-timeout",
        "enforce",
        "pids-limit",
        "hard-cores",
        "gpu-sharing",
    }
)


@dataclass(frozen=True, slots=True)
class Shown:
    """One option's value as another process may be told it: nothing secret is in it."""

    #: Redacted.
    text: str
    #: Tells values apart which look alike when they are masked; made with a salt that is used once.
    mark: str
    #: Where it came from, for a person.
    origin: str
    #: Nobody gave it.
    is_default: bool = False


Held = Mapping[str, Shown]
"""Every option's value, by its name."""


@dataclass(frozen=True, slots=True)
class Change:
    """One option that has another value after the reload."""

    name: str
    before: str
    after: str
    #: Where the new value comes from.
    origin: str
    #: What runs keeps the old value.
    is_for_new_runs: bool = False

    def __str__(self) -> str:
        """Say it on one line."""
        kept = "; what runs keeps the old value" if self.is_for_new_runs else ""
        before, after = self.before or "nothing", self.after or "nothing"
        if before == after:  # a secret is another one
            before = f"another {before}"
        return f"--{self.name}: {after}, was {before} ({self.origin}{kept})"


def held_by(settings: Settings, redact: Callable[[str], str], salt: str) -> Held:
    """Return what the settings hold."""
    found = {}
    for field, option in OPTIONS.items():
        value, origin = getattr(settings, field), settings.origins[field]
        found[option.name] = Shown(
            redact(written(option, value)),
            _mark(option, value, salt),
            str(origin),
            origin.source is Source.DEFAULT,
        )
    return found


def to_json(held: Held) -> str:
    """Write it on one line."""
    return json.dumps({name: asdict(shown) for name, shown in held.items()})


def from_json(text: str) -> Held:
    """Read it; of what another version wrote nothing is believed. Raises ValueError."""
    try:
        return {str(name): Shown(**shown) for name, shown in json.loads(text).items()}
    except (TypeError, AttributeError) as error:
        raise ValueError("no options") from error


def changes(before: Held, after: Held) -> list[Change]:
    """Return what differs, in the order of the options.

    An option that only one of two versions knows counts where somebody gave it a value.
    """
    found = []
    for name in dict.fromkeys([*after, *before]):
        old, new = before.get(name), after.get(name)
        if old is not None and new is not None and old.mark == new.mark:
            continue
        if (old is None or new is None) and (new or old or _ABSENT).is_default:
            continue
        old, new = old or _ABSENT, new or _ABSENT
        found.append(Change(name, old.text, new.text, new.origin, name in _OF_NEW_RUNS))
    return found


_ABSENT = Shown("", "", "another version")


def obstacle(found: Sequence[Change], running: int) -> str:
    """Say which change a reload cannot bring, with ``running`` experiments; empty: it can."""
    for one in found:
        if one.name in _NEVER:
            return f"{one}: no reload changes that; put it back, or drain and start it anew"
        if one.name in _WHILE_NOTHING_RUNS and running:
            return (
                f"{one}: that cannot change under the {running} that run; put it back, or suspend "
                "and reload when nothing runs any more"
            )
    return ""


def _mark(option: Option, value: object, salt: str) -> str:
    text = value.reveal() if isinstance(value, Secret) else written(option, value)
    if isinstance(value, tuple):
        text = "\0".join(part.reveal() if isinstance(part, Secret) else str(part) for part in value)
    return hmac.new(salt.encode(), text.encode(), hashlib.sha256).hexdigest()
