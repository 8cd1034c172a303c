"""Reads one JSON object of a message: tolerant of sloppy types, exact about where an error lies."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import timedelta

from runner.errors import BadField
from runner.model import Bytes
from runner.request.units import parse_duration, parse_size

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}(\.0*)?")
_LARGEST = 2**63 - 1
_FLAGS: Mapping[object, bool] = {"true": True, "1": True, "false": False, "0": False, "": False}


class Fields:
    """The members of one object, found by exact name first and then by case-insensitive name.

    Absent members and ``null`` are the same. Every method raises BadField with the full path.
    """

    __slots__ = ("_folded", "_members", "_path", "warnings")

    def __init__(self, members: Mapping[str, object], path: str, warnings: list[str]) -> None:
        self._members = members
        self._path = path
        self._folded: dict[str, object] | None = None
        #: Sentences about what was tolerated; shared by all objects of one message.
        self.warnings = warnings

    def at(self, name: str) -> str:
        """Return the full path of a member."""
        return f"{self._path}.{name}" if self._path else name

    def bad(self, name: str, remedy: str) -> BadField:
        """Return the error for a member's value."""
        return BadField(self.at(name), self.raw(name), remedy)

    def warn(self, name: str, sentence: str) -> None:
        """Note that a member was tolerated, and what became of it."""
        self.warnings.append(f"{self.at(name)} {sentence}")

    def raw(self, name: str) -> object:
        """Return a member as JSON gave it; ``None`` when it is absent."""
        if name in self._members:
            return self._members[name]
        if self._folded is None:
            self._folded = {key.lower(): value for key, value in self._members.items()}
        return self._folded.get(name.lower())

    def items(self) -> list[tuple[str, object]]:
        """Return the members where their names are data, such as labels."""
        return list(self._members.items())

    def child(self, name: str) -> Fields:
        """Return a nested object; an empty one where there is none."""
        value = self.raw(name)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self.bad(name, "write a JSON object")
        return Fields(value, self.at(name), self.warnings)

    def text(self, name: str) -> str:
        """Return a string; a number is taken as it is written, absence is the empty string."""
        value = self.raw(name)
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        raise self.bad(name, "write a string")

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings; a lone string counts as a list of one."""
        value = self.raw(name)
        if value is None or value == "":
            return ()
        if not isinstance(value, list):
            value = [value]
        return tuple(self._element(name, index, item) for index, item in enumerate(value))

    def _element(self, name: str, index: int, item: object) -> str:
        if isinstance(item, str):
            return item
        if isinstance(item, int | float) and not isinstance(item, bool):
            return str(item)
        raise BadField(f"{self.at(name)}[{index}]", item, "write a string")

    def whole(self, name: str, default: int = 0) -> int:
        """Return a whole number that is not negative; ``"1"`` and ``1.0`` are taken for 1."""
        value = self.raw(name)
        if value is None or value == "":
            return default
        number: int | None = None
        if isinstance(value, float) and value.is_integer():
            number = int(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            number = value
        elif isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
            number = int(value.strip().partition(".")[0])
        if number is None or not 0 <= number <= _LARGEST:
            raise self.bad(name, "write a whole number that is not negative, such as 1")
        return number

    def number(self, name: str) -> float | None:
        """Return a finite number, or ``None``; what is no number is ignored with a warning."""
        value = self.raw(name)
        if value is None or value == "":
            return None
        try:
            number = float(value) if isinstance(value, int | float | str) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number) or isinstance(value, bool):
            self.warn(name, "is no number and is ignored")
            return None
        return number

    def flag(self, name: str) -> bool | None:
        """Return a truth value, or ``None`` where the client left it open."""
        value = self.raw(name)
        if value is None or isinstance(value, bool):
            return value
        folded = str(value).strip().lower() if isinstance(value, str | int) else None
        if folded not in _FLAGS:
            raise self.bad(name, "write true or false")
        return _FLAGS[folded]

    def size(self, name: str) -> Bytes | None:
        """Return a size in bytes; ``None`` where none is stated."""
        value = self.raw(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        if isinstance(value, float) and value.is_integer() and value >= 0:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.bad(name, "write a size such as 512gb, 16gib or 1024mb")
        try:
            return parse_size(str(value))
        except ValueError:
            raise self.bad(name, "write a size such as 512gb, 16gib or 1024mb") from None

    def duration(self, name: str) -> timedelta | None:
        """Return a positive duration; ``None`` where none is stated."""
        text = self.text(name).strip()
        if not text:
            return None
        remedy = "write a positive duration such as 20m, 1h30m or 48h"
        try:
            duration = parse_duration(text)
        except ValueError:
            raise self.bad(name, remedy) from None
        if duration <= timedelta(0):
            raise self.bad(name, remedy)
        return duration

    def soft_duration(self, name: str) -> timedelta | None:
        """Return a positive duration; what is none is ignored with a warning (protocol 7.8)."""
        try:
            return self.duration(name)
        except BadField as error:
            self.warnings.append(f"{error}; it is ignored")
            return None
