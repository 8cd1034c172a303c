"""From a script and its options to messages in a queue; what ``submit`` and the API share."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from runner.archives.pack import Packed
from runner.archives.select import Selection
from runner.client import grid, listings
from runner.client.bucket import Bucket
from runner.client.calls import side_by_side
from runner.client.message import Submission, message
from runner.client.opening import knowing
from runner.client.options import Options
from runner.client.requirement_files import Found
from runner.client.shop import NOTHING, Added, Shop
from runner.errors import Misconfigured, RequestError
from runner.images.reference import NotAnImage, of_location
from runner.model import Message
from runner.queues.addresses import LocalAddress, QueueAddress
from runner.request.location import IMAGE_LABEL
from runner.request.schema import decode
from runner.request.trace import VARIABLE, TraceContext
from runner.stores.base import AccessDenied

_NO_KEYS = (
    "note: no keys are given for {}, so none go with the message: set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or name --store-keys FILE, unless runners have their own "
    "(--allow-own-credentials) or anybody may read and write there"
)


def submission(
    key: str,
    words: Sequence[str],
    options: Options,
    requirements: Found,
    *,
    store: Path | Bucket,
    workspace: Path,
    module: bool = False,
    traceparent: str = "",
) -> Submission:
    """Return the submission of a script (or module) and its arguments. Raises Misconfigured."""
    if options.project:
        listings.project_name(options.project)
    return Submission(
        key=key,
        filename="-m" if module else words[0],
        args=tuple(words if module else words[1:]),
        requirements=requirements.lines,
        python=options.python_version(),
        store=store,
        workspace="",
        directory=workspace,
        needs=options.needs(),
        time_added=time.time(),
        project=options.project,
        env=dict(options.env),
        retry_on=options.causes(),
        max_attempts=options.attempts(),
        container=options.container.strip(),
        traceparent=traceparent,
        **options.durations(),
    )


def swept(one: Submission, points: Sequence[Mapping[str, str]], sweep: str) -> Sequence[Submission]:
    """Return a submission for each point; where there are none, the one, which joins the sweep."""
    if not points:
        return [one.but(sweep=sweep)]
    return [
        one.but(key=key, args=grid.arguments(one.args, point), sweep=sweep, parameters=dict(point))
        for key, point in zip(grid.keys(one.key, len(points)), points, strict=True)
    ]


def numbered(shop: Shop, submissions: Sequence[Submission]) -> Sequence[Submission]:
    """Name them after their sweep, on from what it and the store have: nothing is overwritten.

    So the first sweep of eight has NAME-1 to NAME-8, and the same again NAME-9 to NAME-16.
    Raises what the store raises.
    """
    sweep = submissions[0].sweep
    known = listings.of_sweep(shop, sweep)
    first = 1 + max((grid.number(sweep, one.key) for one in known), default=0)
    while True:
        keys = grid.keys(sweep, len(submissions), first)
        taken = known_keys(shop, keys)
        if not taken:
            return [one.but(key=key) for one, key in zip(submissions, keys, strict=True)]
        first = 1 + max(grid.number(sweep, key) for key in taken)


def enlist(
    shop: Shop, submissions: Sequence[Submission], *, are_numbered: bool = False
) -> Sequence[Submission]:
    """Write down what belongs to a sweep or a project, before anything of it is queued.

    Returns the submissions, numbered anew where somebody else has taken their keys meanwhile.
    """
    if submissions[0].sweep:
        while True:
            try:
                listings.add_to_sweep(shop, submissions, are_new=are_numbered)
                break
            except listings.Taken:
                submissions = numbered(shop, submissions)
    if submissions[0].project:
        # Whose keys are good for artifacts alone submits as ever, and names keys.
        with suppress(AccessDenied):
            listings.add_to_project(shop, submissions)
    return submissions


def check_all(submissions: Sequence[Submission]) -> None:
    """Refuse here what every runner would refuse of any of them. Raises Misconfigured."""
    for one in submissions:
        check(one)


def check(one: Submission) -> None:
    """Refuse here what every runner would refuse. Raises Misconfigured."""
    try:
        request = decode(Message("", json.dumps(message(one)).encode(), ""))
        if one.container:
            of_location(request.artifacts[IMAGE_LABEL].location)
    except RequestError as error:
        raise Misconfigured(f"the experiment cannot be submitted: {error}") from error
    except NotAnImage as error:
        raise Misconfigured(f"--container is {one.container!r}: {error}") from error


def check_new(shop: Shop, submissions: Sequence[Submission]) -> None:
    """Refuse keys that somebody chose and that the store knows already. Raises Misconfigured."""
    taken = known_keys(shop, [one.key for one in submissions])
    if taken:
        raise Misconfigured(
            f"there is an experiment {taken[0]!r} in {shop}: give another --key, or none"
        )


def known_keys(shop: Shop, keys: Sequence[str]) -> Sequence[str]:
    """Return those of the keys that the store knows. Raises what the store raises."""
    found = list(side_by_side(partial(knowing, [shop]), keys, shop.cut))
    return [key for key, known in zip(keys, found, strict=True) if known is not None]


def check_script(script: str, workspace: Path, selection: Selection) -> None:
    """Refuse a script that would not be in the packed workspace. Raises Misconfigured."""
    name = Path(script).as_posix().removeprefix("./")
    if name in selection.files:
        return
    for left in selection.left_out:
        if name == left.name or name.startswith(f"{left.name}/"):
            raise Misconfigured(f"the script {script!r} would be left out: {left.reason}")
    raise Misconfigured(f"the script {script!r} is not in {workspace}: name a file inside it")


def check_reach(address: QueueAddress, shop: Shop, *, is_chosen: bool) -> str:
    """Return what to tell about a store that others may not reach; empty: nothing.

    Raises Misconfigured for a directory that nobody named, for a queue that others take from.
    """
    if isinstance(shop.place, Bucket):
        return "" if shop.place.keys else _NO_KEYS.format(shop)
    if isinstance(address, LocalAddress):
        return ""
    if not is_chosen:
        raise Misconfigured(
            f"{address} is taken from by other machines, which cannot read {shop}: name a bucket "
            "with --store s3://HOST/BUCKET, or with the key store in the file of --config"
        )
    return f"note: runners of {address} need {shop} at the same place, and --allow-file-artifacts"


def sender_trace(environ: Mapping[str, str], env: Mapping[str, str]) -> tuple[str, str]:
    """Return the trace that the caller is in, and what to tell of one that is none.

    Both are empty without the caller's TRACEPARENT; what the experiment's own variables say of
    its trace counts before.
    """
    written = environ.get(VARIABLE, "")
    if not written or VARIABLE in env:
        return "", ""
    context = TraceContext.read(written)
    if context is None:
        shown = repr(written[:80])
        return "", f"note: {VARIABLE} is {shown}, no trace as W3C describes it, and is ignored"
    return context.traceparent, ""


def made_key(script: str) -> str:
    """Return a key that nobody else has, from the script's name and the time."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(script).stem).strip("-")[:60] or "experiment"
    return f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def store(
    shop: Shop, submissions: Sequence[Submission], selection: Selection, added: Added = NOTHING
) -> tuple[Sequence[Submission], Packed]:
    """Store the workspace, once for all of them. Raises Misconfigured, or what the store raises."""
    digest, packed = shop.put_workspace(submissions[0].directory, selection, added)
    return [one.but(workspace=digest) for one in submissions], packed
