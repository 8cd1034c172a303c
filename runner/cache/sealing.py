"""Computes the digests of new entries behind the experiments' backs, one after the other.

Until an entry has its digest no other process can check it: such an entry is used by the process
that fetched it alone, which holds the entry's filling lock until then. The others wait for that
lock; if it is free and there is no digest, that process died, and the entry goes.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

from runner import blocking
from runner.cache.digest import tree_digest
from runner.cache.locks import Lock
from runner.cache.shelf import Found


class Sealer:
    """One thread, as long as the cache is open."""

    def __init__(self, above: int) -> None:
        #: Bytes; smaller entries get their digest before anybody sees them.
        self.above = above
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="cache-seal")
        self._stop = blocking.Stop()

    def submit(self, found: Found, lease: Lock, filling: Lock) -> None:
        """Seal an entry later; the locks are given back then, whatever happens."""
        try:
            self._pool.submit(self._seal, found, lease, filling)
        except RuntimeError:  # closed
            lease.close()
            filling.close()

    def close(self) -> None:
        """Stop; what is not sealed by now is fetched again by the next process. Blocks."""
        self._stop.set()
        self._pool.shutdown()

    def _seal(self, found: Found, lease: Lock, filling: Lock) -> None:
        # An entry that cannot be read, or was removed, stays without: the next one fetches it.
        with lease, filling, contextlib.suppress(blocking.Interrupted, OSError):
            digest = tree_digest(found.tree, self._stop.check, threads=1)
            found.manifest.sealed(digest).write(found.path)
            filling.remove()
