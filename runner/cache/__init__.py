"""Unpacked artifacts that several experiments use, kept below a bound."""

from __future__ import annotations

from runner.registry import Registry

#: Name -> (class, packaging extra).
CACHES = Registry("artifact cache", {"trees": ("runner.cache.trees:TreeCache", None)})
