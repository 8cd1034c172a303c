"""One option: flag, environment variables, file key, default and meaning, declared at a field."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

from runner.settings.kinds import Kind
from runner.settings.places import Places

Default = str | Callable[[Places], str]
_KEY = "option"
PREFIX = "STUDIO_RUNNER_"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Option:
    """What is known of an option besides its value."""

    #: The attribute of ``Settings``: ``max_cores``.
    field: str
    group: str
    kind: Kind
    #: In the form in which a person would write it.
    default: Default
    help: str
    #: How ``docs/defaults.md`` and ``--help`` show a default that depends on the machine.
    shown_default: str = ""
    #: May be given more than once; the value is a tuple.
    repeatable: bool = False
    #: The value is a ``Secret``.
    secret: bool = False
    #: ``--NAME-file`` is accepted as well: the value is read from that file.
    file_form: bool = False
    #: Other names that are accepted: kebab-case.
    aliases: tuple[str, ...] = ()
    #: Accepted for compatibility; nothing reads it yet.
    idle: bool = False

    @property
    def name(self) -> str:
        """The flag without dashes, and the key in the file: ``max-cores``."""
        return self.field.replace("_", "-")

    @property
    def names(self) -> tuple[str, ...]:
        """All names, the proper one first."""
        return (self.name, *self.aliases)

    def default_text(self, places: Places) -> str:
        """Return the default on this machine."""
        return self.default if isinstance(self.default, str) else self.default(places)


def variables(name: str) -> tuple[str, str]:
    """Return the environment variables of an option's name, the one that wins first."""
    bare = name.upper().replace("-", "_")
    return PREFIX + bare, bare


def option(kind: Kind, default: Default, help: str, **more: Any) -> Any:  # noqa: A002 - as argparse
    """Declare a field of ``Settings`` as an option; ``more`` are further fields of ``Option``."""
    return dataclasses.field(
        metadata={_KEY: {"kind": kind, "default": default, "help": help, **more}}
    )


@dataclass_transform(frozen_default=True, kw_only_default=True)
def group(cls: type[T]) -> type[T]:
    """Make a dataclass of fields that ``Settings`` inherits.

    Nobody makes one of a group alone: methods for that are work at every start of every command.
    """
    made = dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
    return made(cls)


def declared(settings: type[Any]) -> Mapping[str, Option]:
    """Return the options of a settings class by field, in the order of their groups."""
    fields = {f.name: f for f in dataclasses.fields(settings)}
    found: dict[str, Option] = {}
    for owner in reversed(settings.__mro__):
        for name in inspect.get_annotations(owner):
            described = fields[name].metadata.get(_KEY) if name in fields else None
            if described is not None:
                group = getattr(owner, "GROUP", "")
                found[name] = Option(field=name, group=group, **described)
    return found
