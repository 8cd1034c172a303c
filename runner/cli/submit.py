"""``studio-runner submit``: pack this directory and queue a script of it, once or as a sweep."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from runner.archives.select import Selection, select
from runner.cli import queues, show, stores, waiting
from runner.cli.arguments import ClientCommand, own_words
from runner.cli.daemon import control_socket
from runner.cli.following import Ending, Watch
from runner.cli.interrupts import interruptible
from runner.cli.output import Output
from runner.cli.queues import Access
from runner.cli.submit_options import add_options, options_of, points_of
from runner.client import grid, listings, submitting
from runner.client.message import Submission
from runner.client.publication import Publication
from runner.client.requirement_files import find
from runner.client.sealing import Wrap, wrapping
from runner.client.shop import Shop
from runner.errors import Misconfigured
from runner.queues.addresses import LocalAddress, QueueAddress

_ABOUT = """Pack the current directory, put it into a store, and queue an experiment that
runs SCRIPT with ARGS in a copy of it. Files that .gitignore or .studioignore
name, .git, virtual environments and files that look like credentials stay
behind. With --grid, an experiment for each combination of values: studio-runner
results shows what came of them.

  studio-runner submit --follow train.py --lr 0.1
  studio-runner submit --sweep first --grid lr=0.1,0.01 --grid depth=2,4 train.py"""
_USAGE = "[OPTION…] SCRIPT [ARG…]   or   submit [OPTION…] -m MODULE [ARG…]"
#: Bytes of a workspace above which we ask.
_LARGE = 500_000_000
_SHOWN_LEFT_OUT = 10
_INTERRUPTED = 130


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Submit, and wait for the end where that is wanted."""
    command = ClientCommand(
        "submit",
        _ABOUT,
        _USAGE,
        settings=(*stores.SETTINGS, *queues.SETTINGS, *waiting.SETTINGS),
        client_keys=stores.KEYS,
        arguments=add_options,
    )
    own, words = own_words(command.parser, argv)
    settings, chosen = command.parse(own, environ)
    if not words:
        raise Misconfigured(f"name what to run: studio-runner submit {_USAGE}")
    points = points_of(chosen)
    if points and chosen.follow:
        raise Misconfigured("--follow shows one experiment: with --grid, say --wait")
    address = queues.address_in(chosen.queue, "--queue")
    access = queues.Access(settings, environ, chosen.credential or "")
    access.opening(address)  # what is missing is said before anything is packed
    wrap = wrapping(chosen.public_key_path, chosen.signing_key_path)
    with stores.opened(settings, chosen, environ) as shops:
        shop = stores.first(shops)
        is_chosen = bool(stores.chosen_store(chosen, environ))
        if said := submitting.check_reach(address, shop, is_chosen=is_chosen):
            show.note(said)
        batch = _Batch(access, chosen, shop, address, environ)
        batch.prepare(words, points)
        if chosen.dry_run:
            return batch.list()
        try:
            batch.store()
            return anyio.run(batch.publish, wrap)
        except KeyboardInterrupt:
            show.note(batch.goes_on())
            return _INTERRUPTED


@dataclass
class _Batch:
    """What one call submits: an experiment, or those of a sweep."""

    access: Access
    chosen: Namespace
    shop: Shop
    address: QueueAddress
    environ: Mapping[str, str]

    def __post_init__(self) -> None:
        self.submissions: Sequence[Submission] = ()
        self.selection = Selection({}, frozenset(), ())
        self._publication: Publication | None = None
        #: Why they wait; of a sweep once.
        self._told: set[str] = set()

    @property
    def name(self) -> str:
        """What a person calls it."""
        one = self.submissions[0]
        return one.sweep or one.key

    @property
    def _are_numbered(self) -> bool:
        return bool(self.chosen.sweep) and not self.chosen.key

    def goes_on(self) -> str:
        """Say what an interruption leaves behind."""
        sent = self._publication
        if sent is None or len(sent.ids) < len(self.submissions):
            return sent.said if sent else "nothing was queued"
        key = self.submissions[0].key if len(self.submissions) == 1 else "KEY"
        store = self._store
        return (
            f"{self.name} goes on: studio-runner logs -f {key}{store}, "
            f"studio-runner cancel {key}{store}"
        )

    @property
    def _store(self) -> str:
        """The option that other commands need for the same store."""
        return f" --store {shlex.quote(self.chosen.store)}" if self.chosen.store else ""

    def prepare(self, words: Sequence[str], points: Sequence[Mapping[str, str]]) -> None:
        """Find out all there is to know before anything is packed. Raises Misconfigured."""
        chosen, workspace = self.chosen, Path.cwd()
        options = options_of(chosen)
        requirements = find(
            chosen.requirements, workspace, self.environ, has_image=bool(chosen.container)
        )
        self.selection = select(workspace)
        if not chosen.module:
            submitting.check_script(words[0], workspace, self.selection)
        key = chosen.key or submitting.made_key(words[0])
        traceparent, said = submitting.sender_trace(self.environ, options.env)
        if said:
            show.note(said)
        one = submitting.submission(
            key,
            words,
            options,
            requirements,
            store=self.shop.place,
            workspace=workspace,
            module=chosen.module,
            traceparent=traceparent,
        )
        sweep = listings.sweep_name(chosen.sweep or key) if points or chosen.sweep else ""
        self.submissions = submitting.swept(one, points, sweep)
        if self._are_numbered:
            self.submissions = submitting.numbered(self.shop, self.submissions)
            if grid.number(sweep, self.submissions[0].key) > 1:
                show.note(f"sweep {sweep} goes on, with {self.submissions[0].key}")
        submitting.check_all(self.submissions)
        if chosen.key:
            submitting.check_new(self.shop, self.submissions)
        _tell(self.selection, requirements.origin, len(requirements.lines), requirements.notes)

    def list(self) -> int:
        """Show what would be queued."""
        if self.chosen.json:
            show.as_json(self._facts())
            return 0
        rows = [
            (one.key, grid.shown(one.parameters), " ".join((one.filename, *one.args)))
            for one in self.submissions
        ]
        show.table(f"{len(rows)} experiments", ("key", "parameters", "runs"), rows)
        return 0

    def store(self) -> None:
        """Put the workspace into the store, once."""
        _ask_when_large(self.selection, yes=self.chosen.yes)
        self.submissions, packed = submitting.store(self.shop, self.submissions, self.selection)
        for name in packed.changed:
            show.note(f"note: {name} changed while it was packed")

    async def publish(self, wrap: Wrap) -> int:
        """Queue them, and wait for their ends where that is wanted; the exit status."""
        async with self.access.queue(self.address) as queue:
            with interruptible() as scope:
                ids = await self._publish(queue, wrap)
            if scope.cancel_called:
                show.note(self.goes_on())
                return _INTERRUPTED
            self._confirm()
            if not (self.chosen.wait or self.chosen.follow):
                return 0
            if isinstance(self.address, LocalAddress):
                return self._report(
                    [await self._ending(one, ids, queue) for one in self.submissions]
                )
        # Elsewhere a look at the dead letters leaves a trace, and a connection need not last so
        # long.
        return self._report([await self._ending(one, ids) for one in self.submissions])

    async def _publish(self, queue: queues.AnyQueue, wrap: Wrap) -> Mapping[str, str]:
        """Queue them, and return their messages' ids by their keys."""
        self.submissions = submitting.enlist(
            self.shop, self.submissions, are_numbered=self._are_numbered
        )
        self._publication = Publication(self.shop, self.submissions, wrap)
        await self._publication.publish(queue)
        return self._publication.ids

    async def _ending(
        self, one: Submission, ids: Mapping[str, str], queue: queues.AnyQueue | None = None
    ) -> Ending:
        watch = Watch(
            self.shop,
            one.key,
            one.time_added,
            control_socket(self.access.settings),
            output=Output() if self.chosen.follow and not self.chosen.json else None,
            queue=queue,
            message_id=ids[one.key],
            reasons=self._reasons(one),
        )
        ending = await watch.ending()
        show.note(f"{one.key}: {ending.sentence}")
        return ending

    def _reasons(self, one: Submission) -> waiting.Reasons:
        settings = self.access.settings
        return waiting.Reasons(
            control_socket(settings),
            one.key,
            one.time_added,
            self.address,
            settings.queue_root,
            waiting.asking_fleet(settings, self.environ, int(one.needs["gpuCount"])),
            self._told,
        )

    def _confirm(self) -> None:
        """Say what was queued: for scripts the keys alone on stdout."""
        waits = self.chosen.wait or self.chosen.follow
        if self.chosen.json and not waits:
            show.as_json(self._facts())
        elif not waits:
            print("\n".join(one.key for one in self.submissions))
        where, count = queues.label(self.address), len(self.submissions)
        sent = self.submissions
        keys = f", {sent[0].key} to {sent[-1].key}" if count > 1 else f", {sent[0].key}"
        if self.submissions[0].sweep:
            show.note(
                f"queued {count} of sweep {self.name} in {where}{keys if waits else ''}: "
                f"studio-runner results {self.name} --watch{self._store}"
            )
        else:
            show.note(f"queued {self.name} in {where}")
        if not self.access.takes(self.address):
            show.note(
                f"note: daemons with the settings of here leave {where} to others: name it to them "
                "with --queue or --queue-match, or in a file 'queues' beside the credential"
            )

    def _report(self, endings: Sequence[Ending]) -> int:
        if self.chosen.json:
            show.as_json(self._facts(endings))
        return endings[0].status if len(endings) == 1 else int(any(one.status for one in endings))

    def _facts(self, endings: Sequence[Ending] = ()) -> dict[str, Any]:
        one = self.submissions[0]
        common = {
            "queue": queues.label(self.address),
            "workspace": one.workspace,
            "store": str(one.store),
        }
        ends = [_end(ending) for ending in endings] or [{} for _ in self.submissions]
        if not one.sweep:
            return {"key": one.key, **common, **ends[0]}
        experiments = [
            {"key": each.key, "parameters": dict(each.parameters), **end}
            for each, end in zip(self.submissions, ends, strict=True)
        ]
        return {"sweep": one.sweep, **common, "experiments": experiments}


def _end(ending: Ending) -> dict[str, Any]:
    return {
        "cause": ending.cause,
        "exit_code": ending.exit_code,
        "detail": ending.detail,
        "attempt": ending.attempt,
    }


def _tell(selection: Selection, origin: str, count: int, notes: Sequence[str]) -> None:
    show.note(f"workspace: {len(selection.files)} files, {show.size(selection.bytes)}")
    left = _left_out(selection)
    for name, reason in left[:_SHOWN_LEFT_OUT]:
        show.note(f"  left out: {name} ({reason})")
    if len(left) > _SHOWN_LEFT_OUT:
        show.note(f"  left out: {len(left) - _SHOWN_LEFT_OUT} more")
    show.note(f"requirements: {count} from {origin}")
    for sentence in notes:
        show.note(f"  {sentence}")


def _left_out(selection: Selection) -> Sequence[tuple[str, str]]:
    """Return what stays behind and why, in one line what does so beside each other."""
    beside: dict[tuple[str, str], list[str]] = {}
    for one in selection.left_out:
        beside.setdefault((one.name.rpartition("/")[0], one.reason), []).append(one.name)
    return [
        (names[0] if len(names) == 1 or not directory else f"{len(names)} of {directory}", reason)
        for (directory, reason), names in beside.items()
    ]


def _ask_when_large(selection: Selection, *, yes: bool) -> None:
    if selection.bytes <= _LARGE or yes:
        return
    large = f"the workspace has {show.size(selection.bytes)}"
    if not sys.stdin.isatty():
        raise Misconfigured(f"{large}: say --yes, or name what is not needed in .studioignore")
    if input(f"{large}. Submit it all the same? [y/N] ").strip().lower() not in {"y", "yes"}:
        raise Misconfigured("nothing was submitted; .studioignore names what is to stay behind")
