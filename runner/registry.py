"""Backends by name: imported late, with the sentence that helps when one cannot be had."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from runner.errors import Misconfigured


class Registry(Mapping[str, str]):
    """Name to ``module:Class``, with the packaging extra that brings the SDK."""

    def __init__(self, family: str, entries: Mapping[str, tuple[str, str | None]]) -> None:
        self._family = family
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> str:
        return self._entries[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def load(self, name: str) -> Any:
        """Return the class registered as ``name``. Raises Misconfigured."""
        if name not in self._entries:
            known = ", ".join(sorted(self._entries))
            raise Misconfigured(f"no {self._family} is called {name!r}; known: {known}")
        target, extra = self._entries[name]
        module, _, attribute = target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ImportError as error:
            if extra is None:
                raise
            raise Misconfigured(
                f"the {self._family} {name!r} needs a package that is not installed "
                f"({error.name}): pip install 'studio-runner[{extra}]'"
            ) from error
