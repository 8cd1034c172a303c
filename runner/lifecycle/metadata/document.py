"""The metadata document of an experiment: edited by directives, bounded, never half-edited."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

import jsonpatch
import jsonpointer

#: Far more than anybody looks at; a document of half this size takes no further directives.
MAX_DOCUMENT = 32 * 2**20
MAX_DEPTH = 50
#: Larger values (in nodes) are neither copied, moved nor compared by a patch.
MAX_OPERAND = 10_000
#: Each copy within a patch may double what the one before it made.
MAX_TRANSFERS = 4
#: Nodes that all patches together may copy, move and compare: some ten seconds of a core. A line of
#: forty bytes has ten thousand of them compared, and others wait for their metadata meanwhile.
MAX_WORK = 10_000_000
#: This part belongs to the runner: an experiment may add to it, not change it.
RESTRICTED = "/studioml"

_CHARACTERS_PER_NODE = 64
_LABORIOUS = frozenset({"copy", "move", "test"})


class Rejected(ValueError):
    """A directive that is not carried out; the document is what it was before."""


class Document:
    """A JSON object; every directive costs what its own text does, however large the object is."""

    def __init__(self) -> None:
        #: The object itself; only its owner changes it in any other way than by ``apply``.
        self.value: dict[str, object] = {}
        #: Length of all text taken in since the true size was last known.
        self._grown = 0
        self._is_full = False
        #: Nodes that patches have copied, moved and compared.
        self._work = 0

    def encode(self) -> bytes:
        """Return the object as one line of JSON with sorted names."""
        text = json.dumps(self.value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return text.encode()

    def apply(self, directive: object, size: int) -> None:
        """Carry out a merge (an object, RFC 7396) or a patch (a list of operations, RFC 6902).

        ``size`` is the length of its text. Raises Rejected.
        """
        self._make_room(size)
        _check_depth(0, directive)
        if isinstance(directive, dict):
            _merge(self.value, cast("dict[str, object]", directive))
        elif isinstance(directive, list) and all(isinstance(one, dict) for one in directive):
            self._patch(cast("list[dict[str, object]]", directive))
        else:
            raise Rejected("it is neither an object nor a list of patch operations")

    def _make_room(self, size: int) -> None:
        self._grown += size
        if self._grown > MAX_DOCUMENT and not self._is_full:
            self._grown = len(self.encode())
            self._is_full = self._grown > MAX_DOCUMENT // 2
        if self._is_full:
            raise Rejected("the document is too large to be changed any more")

    def _patch(self, operations: list[dict[str, object]]) -> None:
        self._check_work(*operations)  # before a parser sees thousands of them
        transfers = [one for one in operations if one.get("op") in {"copy", "move"}]
        if len(transfers) > MAX_TRANSFERS:
            raise Rejected(f"it has more than {MAX_TRANSFERS} operations that copy or move")
        try:
            patch = jsonpatch.JsonPatch(operations)
            for operation in operations:
                _check_permitted(operation)
                self._check_work(operation)
                self._check_operand(operation)
            patch.apply(self.value, in_place=True, atomic=True)
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
            raise Rejected(str(error)[:200]) from None

    def _check_work(self, *operations: Mapping[str, object]) -> None:
        is_laborious = any(one.get("op") in _LABORIOUS for one in operations)
        if self._work > MAX_WORK and is_laborious:
            raise Rejected(f"patches have copied and compared more than {MAX_WORK} values already")

    def _check_operand(self, operation: Mapping[str, object]) -> None:
        """Keep a line of text from setting off work, or growth, out of all proportion to it."""
        level = _level(operation["path"])
        if operation["op"] == "test":
            self._measured(operation["path"])
        elif operation["op"] in {"copy", "move"}:
            level += self._measured(operation.get("from"))
        _check_depth(level, operation.get("value"))

    def _measured(self, path: object) -> int:
        """Return the depth of a value in the document; 0 when there is none."""
        value = jsonpointer.resolve_pointer(self.value, str(path), None)
        depth, nodes = _measure(value, MAX_OPERAND)
        self._work += nodes
        if nodes > MAX_OPERAND:
            raise Rejected(f"the value at {str(path)[:100]} is too large to be copied or compared")
        return depth


def _merge(target: dict[str, object], patch: dict[str, object]) -> None:
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, dict):
            inner = target.get(name)
            if not isinstance(inner, dict):
                inner = target[name] = {}
            _merge(inner, value)
        else:
            target[name] = value


def _check_permitted(operation: Mapping[str, object]) -> None:
    """Refuse what would change the runner's part, or put something in the document's place."""
    kind = operation["op"]
    paths = [operation["path"]] + ([operation.get("from")] if kind in {"copy", "move"} else [])
    for path in map(str, paths):
        if path == "" or (kind != "add" and path.lower().startswith(RESTRICTED)):
            raise Rejected(f"operation {kind} not permitted on path {path[:100]}")


def _level(path: object) -> int:
    return str(path).count("/")


def _check_depth(level: int, value: object) -> None:
    if level + _measure(value)[0] > MAX_DEPTH:
        raise Rejected(f"it is nested more than {MAX_DEPTH} deep")


def _measure(value: object, enough: int | None = None) -> tuple[int, int]:
    """Return depth and nodes of a value, looking no further than ``enough`` nodes."""
    depth, nodes = 0, 0
    level: list[object] = [value]
    while level and (enough is None or nodes <= enough):
        depth += 1
        below: list[object] = []
        for item in level:
            nodes += 1
            if isinstance(item, str):
                nodes += len(item) // _CHARACTERS_PER_NODE
            elif isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            if enough is not None and nodes + len(below) > enough:
                return depth, enough + 1
        level = below
    return depth - 1, nodes
