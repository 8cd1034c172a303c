"""What one attempt has on loan from the cache: kept trees, attached to its run or copied for it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from pathlib import Path

from runner import blocking, log
from runner.cache.base import Cache, Fill, Filled, Kept, Source
from runner.errors import TooLarge
from runner.lifecycle.artifacts.forms import OUTPUT, WORKSPACE
from runner.lifecycle.artifacts.placing import place
from runner.lifecycle.runs.workspace import Workspace, client_distributions
from runner.model import Artifact, Bytes
from runner.removal import remove_tree
from runner.sandboxes.base import Overlay
from runner.stores.base import AccessDenied, NotFound

_log = log.get_logger(__name__)

#: Of files and directories, and of bytes.
_FEW, _LITTLE = 16, Bytes(256 << 10)
#: Copies keep the disk busy; two at a time keep it as busy as it gets.
_LIMIT = blocking.Limit(2)


class Lending:
    """Between the cache and one workspace; the loans last until ``give_back``."""

    def __init__(
        self,
        cache: Cache,
        workspace: Workspace,
        *,
        can_overlay: bool,
        key: str = "",
        own: Collection[str] = (),
    ) -> None:
        """``key`` is the experiment's, for the log; what is labelled as in ``own`` is copied."""
        #: For what is no part of the workspace, too.
        self.cache = cache
        self._workspace = workspace
        self._can_overlay = can_overlay
        self._own = frozenset(own)
        self._key = key
        self._loans = AsyncExitStack()
        self._roots: dict[str, Path] = {}
        self._overlays: list[Overlay] = []
        self._locks: list[Path] = []
        #: Bytes of what the overlays show.
        self.attached = Bytes(0)

    @property
    def overlays(self) -> tuple[Overlay, ...]:
        """What the sandbox is to mount."""
        return tuple(self._overlays)

    @property
    def locks(self) -> tuple[Path, ...]:
        """On what the run's supervisor is to hold locks, so that the loans outlive this daemon."""
        return tuple(self._locks)

    def takes(self, artifact: Artifact) -> bool:
        """Tell whether an artifact is one for the cache: what changes is not.

        Nor is anything under ``output``, whose directory we write into ourselves.
        """
        return not artifact.mutable and artifact.label != OUTPUT

    def seen(self, label: str) -> Path:
        """Return where we find what the run will find in an artifact's directory."""
        return self._roots.get(label) or self._workspace.directory(label)

    async def bring(
        self, artifact: Artifact, source: Source, fill: Fill, budget: Bytes
    ) -> Bytes | None:
        """Have the artifact's directory hold it when the run begins; return its bytes.

        What an overlay shows takes no room of the experiment's disk, and is counted as if it did:
        the same request must not fail on one machine, or one day, and pass on another. So raises
        TooLarge beyond ``budget`` bytes; further what ``fill`` raises, and OSError. ``None`` when
        the cache cannot keep it now.
        """
        begun = time.monotonic()
        async with AsyncExitStack() as loan:
            kept = await self._leased(loan, source, fill)
            if kept is None:
                return None
            if kept.bytes > budget:
                raise TooLarge(
                    f"it holds {kept.bytes} bytes, more than the {budget} bytes that the "
                    "experiment's disk need allows"
                )
            is_attached = not _is_tiny(kept) and self._overlays_at(artifact.label, kept.root)
            if is_attached:
                self._attach(artifact.label, kept)
                self._loans.push_async_exit(loan.pop_all())
            else:
                await self._place(artifact.label, kept.root)
        _log.info(
            "artifact from the cache",
            key=self._key,
            label=artifact.label,
            reused=kept.reused,
            attached=is_attached,
            bytes=kept.bytes,
            seconds=round(time.monotonic() - begun, 3),
        )
        return kept.bytes

    def _overlays_at(self, label: str, root: Path) -> bool:
        if not self._can_overlay or label in self._own:
            return False
        return not _is_read_outside(label, root)

    async def give_back(self) -> None:
        """End the loans; a run that uses them must have ended, or have a supervisor."""
        await self._loans.aclose()

    async def _leased(self, loan: AsyncExitStack, source: Source, fill: Fill) -> Kept | None:
        """Lease it. What another experiment's credentials were denied is no answer to ours."""
        while True:
            has_asked = False

            async def own(into: Path, take: Callable[[int], None]) -> Filled:
                nonlocal has_asked
                has_asked = True
                return await fill(into, take)

            try:
                return await loan.enter_async_context(self.cache.lease(source, own))
            except (NotFound, AccessDenied):
                if has_asked:
                    raise

    def _attach(self, label: str, kept: Kept) -> None:
        self._overlays.append(self._workspace.overlay(label, kept.root))
        self._locks.append(kept.lock)
        self._roots[label] = kept.root
        self.attached = Bytes(self.attached + kept.bytes)

    async def _place(self, label: str, root: Path) -> None:
        staged = self._workspace.private / f"placing-{secrets.token_hex(8)}"

        def copy(stop: blocking.Stop) -> None:
            try:
                place(root, staged, stop.check)
                self._workspace.hand_over(staged)
                self._workspace.put(label, staged)
            finally:
                remove_tree(staged)

        await blocking.call(copy, limit=_LIMIT)


def _is_tiny(kept: Kept) -> bool:
    """Tell whether a copy costs less than an overlay, for which the kernel makes a dozen files."""
    return kept.members <= _FEW and kept.bytes <= _LITTLE


def _is_read_outside(label: str, root: Path) -> bool:
    """Tell whether somebody reads it who has not the run's mounts.

    The installer does, as the user of builds, where the client's own distribution lies in the
    workspace. No other requirement names a file.
    """
    return label == WORKSPACE and bool(client_distributions(root))
