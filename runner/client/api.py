"""Experiments from Python: ``Client`` submits them, waits for them and reads what came of them."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from runner.archives.select import select
from runner.client import calling, grid, listings, opening, submitting
from runner.client.access import Access
from runner.client.fetching import fetch
from runner.client.listings import Listed
from runner.client.message import Submission
from runner.client.options import Options
from runner.client.publication import Publication
from runner.client.requirement_files import find
from runner.client.results import Reader, Result
from runner.client.sealing import wrapping
from runner.client.shop import NOTHING, Added, Shop
from runner.client.submitted import Submitted, Sweep
from runner.errors import Misconfigured, RunnerError, Unavailable
from runner.lifecycle.ownership.record import State
from runner.queues.addresses import LocalAddress, parse

_NOTHING_SPECIAL = Options()
#: Seconds for which a store or a broker may be away while somebody waits.
_OUTAGE = 600.0
#: Seconds between two looks among the dead letters.
_LETTERS_EVERY = 2.0
#: Seconds that an interruption waits for the message that is being sent.
_LAST_MESSAGE = 30.0
#: A wait looks for at most one part in so many of its time: a store may be far away, and dear.
_REST = 3


class Client:
    """A queue to submit to, and the store where workspaces and results lie; used with ``with``.

    No daemon is needed on this machine; one on any machine that takes from ``queue`` and reads
    ``store`` runs what is submitted. Methods block, and may be called where an event loop runs,
    such as in a notebook; one thread at a time. They raise ``runner.errors.Misconfigured`` for
    what makes no sense and ``runner.errors.RunnerError`` for what else goes wrong.

    >>> with Client(store="results") as client:
    ...     first = client.submit("train.py", ["--lr", "0.1"], key="first")
    ...     first.result().state
    'waiting'
    """

    def __init__(
        self,
        queue: str = "local_default",
        store: str | os.PathLike[str] | None = None,
        *,
        directory: str | os.PathLike[str] = ".",
        credential: str = "",
        store_keys: str | None = None,
        store_records: str | None = None,
        public_key: str | None = None,
        signing_key: str | None = None,
        config: str | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Every name is the option of ``studio-runner submit`` that is called so.

        ``directory`` is what is packed. What is not given comes from the environment and the file
        of ``config``, as for the commands.
        """
        named = {"store-keys": store_keys, "store-records": store_records, "config": config}
        named["store"] = None if store is None else os.fspath(store)
        self._environ = environ
        self.settings, self._chosen = opening.configured(named, environ)
        self._address = parse(queue, option="queue")
        self._access = Access(self.settings, environ, credential)
        self._wrap = wrapping(public_key, signing_key)
        self._directory = Path(directory).absolute()
        self._stack = ExitStack()
        self._messages: dict[str, str] = {}
        self._dead: Mapping[str, str] = {}
        self._looked_for_dead = -_LETTERS_EVERY
        self._shop: Shop | None = None

    @property
    def shop(self) -> Shop:
        """The store. Raises RunnerError outside of a ``with``."""
        if self._shop is None:
            raise RunnerError("the client is not open: write `with Client(…) as client:`")
        return self._shop

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._portal: BlockingPortal = stack.enter_context(start_blocking_portal())
            shops = opening.opened(self.settings, self._chosen, self._environ)
            self._shop = opening.first(stack.enter_context(shops))
            self._reader = Reader(self._shop, self.settings.state_dir)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._shop = None
        self._stack.close()

    def submit(
        self,
        script: str,
        args: Sequence[object] = (),
        *,
        options: Options = _NOTHING_SPECIAL,
        key: str | None = None,
        sweep: str = "",
        module: bool = False,
    ) -> Submitted:
        """Pack the directory, and queue an experiment that runs a script of it, or a module.

        With ``sweep`` it joins the sweep of that name, and is called NAME-1, NAME-2 … unless it
        has a ``key``.
        """
        words = (script, *_words(args))
        done = self._submit(words, (), options=options, key=key, sweep=sweep, module=module)
        return Submitted(done.keys[0], self, done.listed)

    def map(
        self,
        what: str | Callable[..., Any],
        parameters: Mapping[str, Sequence[object]],
        *,
        args: Sequence[object] = (),
        options: Options = _NOTHING_SPECIAL,
        sweep: str = "",
        most: int = grid.MOST,
    ) -> Sweep:
        """Queue an experiment for each combination of the parameters' values.

        They are called after the sweep, NAME-1, NAME-2 …, on from what it has already.

        ``what`` is a script, which gets each value as ``--name value``, or in the place of
        ``{name}`` in ``args``. Or it is a function at the top of a file in the directory, which is
        called with them as keywords: the file is imported by the runner, and what it returns, a
        dictionary or another value that JSON has, is part of the result's ``metadata``.

        >>> with Client(store="results") as client:
        ...     sweep = client.map("train.py", {"lr": [0.1, 0.01], "depth": [2, 4]}, sweep="first")
        ...     [dict(result.parameters) for result in sweep][1]
        {'lr': '0.1', 'depth': '4'}
        """
        texts = grid.checked(parameters)
        points = tuple(grid.points(texts, most))
        if isinstance(what, str):
            return self._submit((what, *_words(args)), points, options=options, sweep=sweep)
        if args:
            raise Misconfigured("args are given with a function: it gets its parameters alone")
        return self._call(what, parameters, points, options, sweep)

    def sweep(self, name: str) -> Sweep:
        """Return a sweep that was submitted before, by whomever."""
        known = listings.of_sweep(self.shop, name, "the sweep")
        if not known:
            raise RunnerError(f"there is no sweep {name!r} in {self.shop}")
        return Sweep(name, tuple(one.key for one in known), self, tuple(known))

    def result(self, key: str) -> Result:
        """Return how an experiment stands now."""
        shop = self.shop  # said first, where the client is not open
        listed = self._reader.experiment(key)
        if not listed:
            raise RunnerError(f"the experiment {key!r} is not known in {shop}")
        return self.looked_at(listed)[0]

    def fetch(
        self, key: str, *labels: str, to: str | os.PathLike[str] = ".", replace: bool = False
    ) -> Sequence[Path]:
        """Unpack stored artifacts into ``to``, all where none is named; return their places."""
        return fetch(self.shop, key, labels, Path(to), replace=replace)

    def looked_at(self, listed: Sequence[Listed]) -> Sequence[Result]:
        """Return how each of them stands now, also of messages that nobody can run."""
        buried = self._buried()
        results = []
        for result in self._reader.results(listed):
            why = buried.get(self._messages.get(result.key, ""))
            if why is not None and not result.ended:
                result = replace(result, state=State.ENDED.value, cause="buried", detail=why)  # noqa: PLW2901 - the same one, as more is known of it
            results.append(result)
        return results

    def ends(self, listed: Sequence[Listed], timeout: float | None) -> Iterator[Result]:
        """Yield each as it ends. Raises TimeoutError after so many seconds.

        A store that is away meanwhile is waited for, ten minutes long.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        open_, answered = list(listed), time.monotonic()
        while open_:
            begun = time.monotonic()
            try:
                ended = self._ended(open_)
                answered = time.monotonic()
            except Unavailable:
                if time.monotonic() - answered > _OUTAGE:
                    raise
                ended = []
            yield from ended
            done = {one.key for one in ended}
            open_ = [one for one in open_ if one.key not in done]
            if open_:
                self._rest(open_, end, time.monotonic() - begun)

    def _rest(self, open_: Sequence[Listed], end: float, took: float) -> None:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError(self._not_ended(open_))
        time.sleep(min(max(self.shop.look_every, _REST * took), left))

    def _not_ended(self, open_: Sequence[Listed]) -> str:
        """Say what has not, and why the first one waits, where that is known."""
        first, count = open_[0].key, len(open_)
        detail = ""
        with suppress(RunnerError):
            detail = self.looked_at(open_[:1])[0].detail
        said = f"{first} has" if count == 1 else f"{count} experiments have"
        such = "" if count == 1 else f", such as {first}"
        return f"{said} not ended{such}{f': {detail}' if detail else ''}"

    def _ended(self, listed: Sequence[Listed]) -> Sequence[Result]:
        dead = self._buried()
        over = self._reader.ended(listed)
        buried = [one for one in listed if self._messages.get(one.key, "") in dead]
        wanted = {one.key: one for one in (*over, *buried)}
        return [one for one in self.looked_at(list(wanted.values())) if one.ended]

    def _call(
        self,
        function: Callable[..., Any],
        parameters: Mapping[str, Sequence[object]],
        points: Sequence[Mapping[str, str]],
        options: Options,
        sweep: str,
    ) -> Sweep:
        """Submit a function; it gets the values themselves, not their text."""
        words = calling.words(function, self._directory)
        by_text = {n: dict(zip(map(str, v), v, strict=True)) for n, v in parameters.items()}
        given = [calling.parameters({n: by_text[n][t] for n, t in p.items()}) for p in points]
        args = [(*words[1:], text) for text in given]
        return self._submit(
            words, points, options=options, sweep=sweep, args=args, added=calling.added()
        )

    def _submit(
        self,
        words: Sequence[str],
        points: Sequence[Mapping[str, str]],
        *,
        options: Options,
        key: str | None = None,
        sweep: str = "",
        module: bool = False,
        args: Sequence[tuple[str, ...]] = (),
        added: Added = NOTHING,
    ) -> Sweep:
        is_chosen = bool(opening.chosen_store(self._chosen, self._environ))
        submitting.check_reach(self._address, self.shop, is_chosen=is_chosen)
        self._access.opening(self._address)
        selection = select(self._directory)
        if not module:
            # Of a function it is the file that is packed; what calls it is added.
            script = words[1] if added else words[0]
            submitting.check_script(script, self._directory, selection)
        requirements = find(
            options.requirements, self._directory, self._environ, has_image=bool(options.container)
        )
        one = submitting.submission(
            key or submitting.made_key(words[0] if not added else words[2]),
            words,
            options,
            requirements,
            store=self.shop.place,
            workspace=self._directory,
            module=module,
            traceparent=submitting.sender_trace(self._environ, options.env)[0],
        )
        name = listings.sweep_name(sweep or one.key) if points or sweep else ""
        submissions = submitting.swept(one, points, name)
        if args:
            pairs = zip(submissions, args, strict=True)
            submissions = [each.but(args=given) for each, given in pairs]
        are_numbered = bool(sweep) and not key
        if are_numbered:
            submissions = submitting.numbered(self.shop, submissions)
        submitting.check_all(submissions)
        if key:
            submitting.check_new(self.shop, submissions)
        submissions, _ = submitting.store(self.shop, submissions, selection, added)
        return self._publish(submissions, are_numbered=are_numbered)

    def _publish(self, submissions: Sequence[Submission], *, are_numbered: bool) -> Sweep:
        begun: list[Publication] = []
        over = threading.Event()
        work = partial(self._queue, submissions, begun, over, are_numbered=are_numbered)
        future = self._portal.start_task_soon(work)
        try:
            future.result()
        except BaseException as error:
            # Somebody may have interrupted us: nothing is sent behind his back.
            future.cancel()
            over.wait(_LAST_MESSAGE)
            if not isinstance(error, RunnerError):
                error.add_note(begun[0].said if begun else "nothing was queued")
            raise
        sent = begun[0].submissions
        listed = tuple(map(listings.of_submission, sent))
        return Sweep(sent[0].sweep, tuple(one.key for one in listed), self, listed)

    async def _queue(
        self,
        submissions: Sequence[Submission],
        begun: list[Publication],
        over: threading.Event,
        *,
        are_numbered: bool,
    ) -> None:
        try:
            async with self._access.queue(self._address) as queue:
                sent = submitting.enlist(self.shop, submissions, are_numbered=are_numbered)
                publication = Publication(self.shop, sent, self._wrap)
                begun.append(publication)
                try:
                    await publication.publish(queue)
                finally:
                    self._messages |= publication.ids
        finally:
            over.set()

    def _buried(self) -> Mapping[str, str]:
        """Return why messages of ours are among the dead letters of a local queue, by their id."""
        if not isinstance(self._address, LocalAddress) or not self._messages:
            return {}
        if time.monotonic() - self._looked_for_dead >= _LETTERS_EVERY:
            self._dead = self._portal.call(self._letters)
            self._looked_for_dead = time.monotonic()
        return self._dead

    async def _letters(self) -> Mapping[str, str]:
        async with self._access.queue(self._address) as queue:
            return {letter.message.id: letter.reason for letter in await queue.dead()}


def _words(args: Sequence[object]) -> Sequence[str]:
    if isinstance(args, str):
        raise Misconfigured(f"args is the text {args!r}: give a list, such as ['--lr', '0.1']")
    return [str(arg) for arg in args]
