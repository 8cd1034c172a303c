"""The environment builder on uv: finds the interpreter, resolves, builds once, attaches."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import anyio
import uv

from runner import blocking, log
from runner.environments import attach, bytecode, manifest
from runner.environments.base import Attachment, Environment, Environments, EnvironmentSpec
from runner.environments.bounded import Held, Watched, unheld, unwatched
from runner.environments.cache import EnvironmentCache
from runner.environments.failures import disk_errors
from runner.environments.installer import Installer
from runner.environments.manifest import Manifest
from runner.environments.places import Places, link_mode, usable_program
from runner.environments.protection import Protection
from runner.environments.sources import Sources
from runner.environments.vouched import Vouched
from runner.environments.whose import working_for
from runner.errors import HostFault
from runner.model import NOTHING, Bytes, Identity, Stock

if TYPE_CHECKING:
    from runner.environments.plan import Plan
    from runner.environments.workshop import Workshop

T = TypeVar("T")
_log = log.get_logger(__name__)

#: Downloads so small are not worth forgetting.
_A_FEW = Bytes(10 << 20)
#: Seconds that making room may keep a finished run from being reported.
_MAKING_ROOM = 30.0


@dataclass(frozen=True, slots=True)
class Leased(Environment):
    """An environment that can be built again when a run has changed it."""

    plan: Plan
    #: For whom.
    identity: Identity | None


class UvEnvironments(Environments):
    """Environments below ``root``, which users that run experiments must be able to pass through.

    As root, builds that run a package's code run as ``build_identity``, and what was built belongs
    to root; ``run_identity`` (the same, unless told otherwise) owns what ``attach`` makes. Such
    builds do not see ``hidden``, but for ``root`` and what is ``visible``. Where runs are
    ``kept_out``, their sandbox shows them what is shared read-only.
    """

    def __init__(
        self,
        root: Path,
        *,
        limit: Bytes,
        default_python: str | None = None,
        resolve_ttl: timedelta = timedelta(hours=24),
        index_url: str | None = None,
        extra_index_urls: Sequence[str] = (),
        find_links: Sequence[str] = (),
        no_index: bool = False,
        torch_backend: str = "auto",
        allow_downloads: bool = False,
        base_environment: Path | None = None,
        build_identity: Identity | None = None,
        run_identity: Identity | None = None,
        uv_cache: Path | None = None,
        uv_cache_limit: Bytes | None = None,
        extra_variables: Mapping[str, str] = NOTHING,
        hidden: Sequence[Path] = (),
        visible: Sequence[Path] = (),
        kept_out: bool = False,
        walls: Callable[[Sequence[Path]], Sequence[str]] = lambda _: (),
        watched: Watched = unwatched,
        held: Held = unheld,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._root = root
        self._sources = Sources(
            index_url,
            tuple(extra_index_urls),
            tuple(find_links),
            no_index,
            torch_backend,
            extra_variables,
        )
        self._default_python = default_python
        self._resolve_ttl = resolve_ttl
        self._allow_downloads = allow_downloads
        self._base_environment = base_environment
        self._protection = Protection.of(build_identity, run_identity)
        self._uv_cache = uv_cache or root / "uv"
        self._uv_cache_limit = uv_cache_limit
        self._hidden, self._visible = tuple(hidden), tuple(visible)
        self._walls, self._watched, self._held = walls, watched, held
        self._report = report
        self._kept_out, self._vouched = kept_out, Vouched()
        self._threads = blocking.Limit(4)
        self._cache = EnvironmentCache(root, limit, self._threads)
        self._places: Places | None = None
        self._installer: Installer | None = None
        self._workshop: Workshop | None = None
        self._opening = anyio.Lock()

    async def __aenter__(self) -> Self:
        """Sweep what a dead process left. Raises Misconfigured, OSError where it cannot be used."""
        builder = self._protection.builder
        await self._call(self._cache.open)
        self._protection.check(self._root)
        places = Places(self._cache, self._uv_cache, builder, self._threads)
        await self._call(places.open)
        program = await usable_program(Path(uv.find_uv_bin()), builder, self._root)
        mode = await self._call(lambda: link_mode(self._uv_cache / "wheels", self._root))
        self._installer = Installer(
            program,
            self._sources,
            mode,
            self._root / "pythons",
            self._allow_downloads,
            self._hidden,
            (self._root.absolute(), self._root.resolve(), *self._visible),
            self._walls,
            self._watched,
            self._held,
        )
        self._places = places
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing stays open: leases end with their blocks, builds with theirs."""
        self._places = self._installer = self._workshop = None

    @contextlib.asynccontextmanager
    async def lease(self, spec: EnvironmentSpec) -> AsyncIterator[Environment]:
        """Prepare the environment and keep it until the block ends; see ``Environments.lease``."""
        begun = time.monotonic()
        with disk_errors(), working_for(spec.identity):
            plan = await (await self._opened()).planner.plan(spec)
        try:
            async with self._cache.leased(plan.key):
                with working_for(spec.identity):
                    reused = await self._prepare(plan)
                yield Leased(
                    plan.key,
                    self._cache.path(plan.key),
                    time.monotonic() - begun,
                    reused,
                    plan,
                    spec.identity,
                    lock=self._cache.lock(plan.key),
                )
        finally:
            with anyio.move_on_after(_MAKING_ROOM, shield=True):
                await self._cache.make_room()

    @contextlib.asynccontextmanager
    async def pin(self, key: str) -> AsyncIterator[None]:
        """Keep a built environment that an adopted run uses, without preparing anything."""
        self._vouched.doubt(key)
        async with self._cache.leased(key):
            self._cache.touch(key)
            yield

    async def attach(self, environment: Environment, into: Path) -> Attachment:
        """Make the environment usable from the new directory ``into``.

        Where somebody could have changed the shared copy since it was looked at, it is looked at
        first, and built anew when it was changed.
        """
        root = environment.root
        owner = self._protection.runner
        if owner is not None and isinstance(environment, Leased):
            owner = environment.identity or owner
        with disk_errors(), working_for(owner):
            known = await self._verified(environment)
            python = await self._call(lambda: attach.attach(root, known, into, owner))
        return Attachment(
            python,
            {"VIRTUAL_ENV": str(into), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            (into / "bin",),
        )

    async def compile_later(self, environment: Environment) -> None:
        """Compile its modules, at the lowest priority; for a task beside the first run.

        Then keeps uv's own cache within its bound. Does nothing where all was done before, and
        stops where the disk is full: it only makes later starts faster.
        """
        try:
            with disk_errors():
                await self._compile(environment)
        except HostFault as error:
            _log.info("not compiled", environment=environment.key, why=str(error))

    async def _compile(self, environment: Environment) -> None:
        async with self._cache.leased(environment.key), self._cache.building(environment.key):
            if not (isinstance(environment, Leased) and environment.plan.within):
                await bytecode.compile_packages(environment.root, self._threads)
        places = self._places  # none where the daemon ends meanwhile: the next one trims
        if self._uv_cache_limit is not None and places is not None and places.may_have_grown:
            await places.trim(self._uv_cache_limit)

    def installed(self, key: str) -> tuple[str, ...]:
        """See ``Environments``."""
        known = manifest.read(self._cache.path(key))
        return known.packages if known else ()

    async def stock(self) -> Stock | None:
        """See ``Environments``."""
        try:
            entries = await self._call(self._cache.entries)
        except OSError:
            return None
        used = Bytes(sum(entry.bytes for entry in entries))
        return Stock(len(entries), used, self._cache.limit)

    async def give_way(self, wanted: Bytes) -> None:
        """Forget the installer's downloads; if there were none, environments, oldest first."""
        with disk_errors():
            if await self._open_places.trim(_A_FEW):
                return
            kept = sum(entry.bytes for entry in self._cache.entries())
            await self._cache.evict(Bytes(max(0, kept - wanted)))

    @property
    def _open_places(self) -> Places:
        if self._places is None:
            raise RuntimeError("UvEnvironments is used outside of its async with block")
        return self._places

    async def _opened(self) -> Workshop:
        """Return what plans and builds; the first caller waits until it is loaded."""
        async with self._opening:
            if self._workshop is None:
                places, installer = self._open_places, self._installer
                assert installer is not None  # noqa: S101 - made together with the places
                self._workshop = await self._call(lambda: self._opened_with(places, installer))
        return self._workshop

    def _opened_with(self, places: Places, installer: Installer) -> Workshop:
        # Parsing requirements takes 50 ms to import, which no start of the daemon waits for.
        from runner.environments.workshop import Workshop  # noqa: PLC0415

        return Workshop.opened(
            self._root,
            self._cache,
            places,
            installer,
            runner=self._protection.runner,
            resolve_ttl=self._resolve_ttl,
            default_python=self._default_python,
            base_environment=self._base_environment,
            threads=self._threads,
            report=self._report,
        )

    async def _prepare(self, plan: Plan) -> bool:
        """Build unless it is there; tell whether it was."""
        root = self._cache.path(plan.key)
        reused = True
        with disk_errors():
            if not (root / manifest.NAME).exists():
                async with self._cache.building(plan.key):
                    if not (root / manifest.NAME).exists():
                        await self._build(plan)
                        reused = False
                await self._cache.evict()
            self._cache.touch(plan.key)
        return reused

    async def _verified(self, environment: Environment) -> Manifest:
        root = environment.root
        known = await self._call(lambda: self._unchanged(root))
        if known is not None:
            return known
        if not isinstance(environment, Leased):
            raise HostFault(f"the environment {environment.key} is not leased from here")
        async with self._cache.building(environment.key):
            known = await self._call(lambda: self._unchanged(root))
            if known is not None:
                return known
            self._report(
                f"environment {environment.key} was changed by an experiment; it is built anew"
            )
            return await self._build(environment.plan)

    async def _build(self, plan: Plan) -> Manifest:
        try:
            return await (await self._opened()).builder.build(plan)
        finally:
            if plan.resolution.runs_code:
                self._vouched.forget()

    def _unchanged(self, root: Path) -> Manifest | None:
        known, changes = manifest.read(root), self._vouched.changes
        if known is None or self._protection.is_by_ownership:
            return known
        if self._kept_out and self._vouched.holds(root.name):
            return known
        if not manifest.is_unchanged(root, known):
            return None
        self._vouched.note(root.name, changes)
        return known

    async def _call(self, function: Callable[[], T]) -> T:
        return await blocking.call(functools.partial(_without_stop, function), limit=self._threads)


def _without_stop(function: Callable[[], T], _: blocking.Stop) -> T:
    return function()
