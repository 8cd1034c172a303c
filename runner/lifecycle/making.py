"""Puts the pieces of one attempt together: its workspace, artifacts, claim and client status."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from runner import log
from runner.errors import LeaseLost, RunnerError
from runner.lifecycle.announcing import about
from runner.lifecycle.artifacts.artifacts import Artifacts
from runner.lifecycle.artifacts.checkpoints import Checkpoints
from runner.lifecycle.artifacts.forms import WORKSPACE
from runner.lifecycle.artifacts.lending import Lending
from runner.lifecycle.artifacts.storing import Stored
from runner.lifecycle.attempt import Attempt
from runner.lifecycle.beside import Beside
from runner.lifecycle.board import Entry
from runner.lifecycle.homecoming import Homecoming
from runner.lifecycle.logbook import LABEL, Logbook, logbook_interval
from runner.lifecycle.metadata.facts import Facts, Times
from runner.lifecycle.metadata.scraper import RedactedScraper, Scraper
from runner.lifecycle.ownership.claim import Claim, Claims, Owner, claim_artifact
from runner.lifecycle.ownership.client_status import ClientStatus
from runner.lifecycle.parts import Parts
from runner.lifecycle.preparation import Preparation
from runner.lifecycle.responses import telling
from runner.lifecycle.runs.limits import checkpoint_interval
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Artifact, Cause, Location, News, Request
from runner.stores.base import Store

_log = log.get_logger(__name__)


async def claims_for(parts: Parts, request: Request, entry: Entry) -> Claims:
    """Return what asks for the experiment on behalf of this attempt. Raises RequestError."""
    record = entry.record
    artifact = claim_artifact(request)
    store = None
    if artifact is not None:
        store = await parts.store_for(artifact, request, (record.broker, record.project))
    return Claims(
        store,
        request,
        Owner(parts.host, parts.owner, record.run),
        parts.options.claim_lease,
        parts.observations,
        receive_count=record.message.receive_count,
        message=record.message.id,
        mark=record.message.mark,
    )


async def new_attempt(parts: Parts, request: Request, entry: Entry, claim: Claim) -> Attempt:
    """Make a workspace and everything that works in it. Raises HostFault, RequestError."""
    identity = entry.record.identity
    workspace = Workspace.create(parts.working_dir, request.experiment.key, identity)
    entry.record = entry.record.but(workspace=workspace.root)
    parts.records.write(entry.record)
    return _attempt(parts, request, entry, claim, workspace)


async def attempt_again(parts: Parts, request: Request, entry: Entry, claim: Claim) -> Attempt:
    """Open the workspace that an earlier daemon made. Raises HostFault."""
    root, identity = entry.record.workspace, entry.record.identity or parts.users.shared
    assert root is not None  # noqa: S101 - the record of a run always has one
    return _attempt(parts, request, entry, claim, Workspace.at(root, identity))


def status_for(parts: Parts, request: Request, entry: Entry) -> ClientStatus:
    """Return what keeps the client's own record of the experiment."""
    account = (entry.record.broker, entry.record.project)

    async def store_for(location: Location) -> Store:
        return await parts.store_for(location, request, account)

    return ClientStatus(request, store_for)


def _attempt(
    parts: Parts, request: Request, entry: Entry, claim: Claim, workspace: Workspace
) -> Attempt:
    record, options = entry.record, parts.options
    entry.output = workspace.log
    status = status_for(parts, request, entry)

    async def store_for(artifact: Artifact) -> Store:
        store = await parts.store_for(artifact, request, (record.broker, record.project))
        return entry.progress.watched(store)

    async def saved(stored: Mapping[str, Stored]) -> None:
        parts.tally.checkpoints += 1
        parts.tally.sent_bytes += sum(one.sent for one in stored.values())
        warning = await status.checkpoint()
        await _tell(parts, entry, stored, warning)

    async def failed(error: RunnerError) -> None:
        _log.warning("checkpoint failed", key=record.key, trouble=str(error))

    async def confirm() -> None:
        if claim.is_fresh:
            return
        try:
            await parts.keeper.run(claim.confirm)
        except LeaseLost as error:
            entry.stopper.stop(Cause.LEASE_LOST, str(error))
            raise

    artifacts = Artifacts(
        request,
        workspace,
        store_for,
        default_budget=options.default_disk,
        lending=_lending(parts, entry, workspace),
        permitted=_permission(parts, claim),
    )
    facts = _facts(parts, request, entry)
    scraper = RedactedScraper(Scraper(wrap=options.wrap_log_lines, facts=facts.now), parts.redactor)
    entry.metrics = scraper.numbers
    checkpoints = Checkpoints(
        artifacts,
        workspace,
        scraper,
        accession=telling.unique_id(parts, record),
        interval=_interval(parts, request),
        on_saved=saved,
        on_failed=failed,
        confirm=confirm,
    )
    logbook = _logbook(parts, request, entry, workspace)
    return Attempt(
        parts,
        entry,
        Preparation(parts, request, entry, claim, workspace, artifacts),
        Beside(parts, entry, workspace, checkpoints, status, logbook),
        Homecoming(parts, entry, workspace, artifacts, checkpoints),
    )


def _permission(parts: Parts, claim: Claim) -> Callable[[], None]:
    """Return what asks, in a worker thread, whether an object may appear; it raises where not."""

    def ask() -> None:
        if not claim.is_fresh:
            parts.keeper.run_from_thread(claim.confirm)

    return ask


def _lending(parts: Parts, entry: Entry, workspace: Workspace) -> Lending | None:
    if parts.cache is None:
        return None
    # A workspace that is kept to be looked at holds everything itself.
    can_overlay = parts.sandbox.overlays and not parts.options.keep_workspaces
    # One that is kept when it fails, or is shown to a hook, holds at least the code.
    is_shown = parts.hooks.after is not None or (parts.kept is not None and parts.kept.is_on)
    own = {WORKSPACE} if is_shown else set()
    key = entry.record.key
    return Lending(parts.cache, workspace, can_overlay=can_overlay, key=key, own=own)


def _facts(parts: Parts, request: Request, entry: Entry) -> Facts:
    def times() -> Times:
        return Times(entry.record.claimed_at, entry.record.started_at or 0.0, entry.ended_at)

    def packages() -> tuple[str, ...]:
        key = entry.record.environment
        return parts.environments.installed(key) if key else ()

    artifacts = request.artifacts
    return Facts(request.experiment, artifacts, parts.host, parts.redactor, times, packages)


def _logbook(parts: Parts, request: Request, entry: Entry, workspace: Workspace) -> Logbook:
    place = request.artifacts.get(LABEL)
    is_wanted = place is not None and place.mutable and place.unpack
    return Logbook(parts, entry, workspace, logbook_interval(request), is_wanted)


def _interval(parts: Parts, request: Request) -> timedelta | None:
    return checkpoint_interval(request, parts.options.checkpoint_interval)


async def _tell(parts: Parts, entry: Entry, stored: Mapping[str, Stored], warning: str) -> None:
    record = entry.record
    named = ", ".join(f"{label} ({what})" for label, what in stored.items())
    if warning:
        _log.warning("client status", key=record.key, trouble=warning)
    text = f"{record.key}: stored {named or 'nothing new'}"
    facts = {
        "stored_bytes": str(sum(what.size for what in stored.values())),
        "sent_bytes": str(sum(what.sent for what in stored.values())),
    }
    news = News.CHECKPOINTED
    await parts.report(about(entry, news, text, facts=facts, metrics=entry.metrics()))
