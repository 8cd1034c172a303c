"""From a script and its options to messages in a queue; what ``submit`` and the API share."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from runner.archives.pack import Packed
from runner.archives.select import Selection
from runner.client import grid, listings
from runner.client.access import AnyQueue
from runner.client.bucket import Bucket
from runner.client.message import Submission, message
from runner.client.opening import knowing
from runner.client.options import Options
from runner.client.requirement_files import Found
from runner.client.sealing import Wrap
from runner.client.shop import NOTHING, Added, Shop
from runner.errors import Misconfigured, RequestError, RunnerError
from runner.images.reference import NotAnImage, of_location
from runner.model import Message
from runner.queues.addresses import LocalAddress, QueueAddress
from runner.request.location import IMAGE_LABEL
from runner.request.schema import decode
from runner.stores.base import AccessDenied


def submission(
    key: str,
    words: Sequence[str],
    options: Options,
    requirements: Found,
    *,
    store: Path | Bucket,
    workspace: Path,
    module: bool = False,
) -> Submission:
    """Return the submission of a script (or module) and its arguments. Raises Misconfigured."""
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
    for one in submissions:
        if knowing([shop], one.key) is not None:
            raise Misconfigured(
                f"there is an experiment {one.key!r} in {shop}: choose another --key"
            )


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
    if isinstance(address, LocalAddress) or isinstance(shop.place, Bucket):
        return ""
    if not is_chosen:
        raise Misconfigured(
            f"{address} is taken from by other machines, which cannot read {shop}: name a bucket "
            "with --store s3://HOST/BUCKET, or with the key store in the file of --config"
        )
    return f"note: runners of {address} need {shop} at the same place, and --allow-file-artifacts"


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


async def publish(
    shop: Shop, queue: AnyQueue, submissions: Sequence[Submission], wrap: Wrap
) -> AsyncIterator[tuple[Submission, str]]:
    """Queue them one after the other, and yield each with its message's id.

    What belongs to a sweep or a project is written down before. Raises what store and queue raise;
    of a sweep that stops half way, with how far it came.
    """
    _list(shop, submissions)
    for count, one in enumerate(submissions):
        try:
            shop.put_experiment(one)
            message_id = await queue.publish(json.dumps(wrap(message(one))).encode())
        except RunnerError as error:
            if not count:
                raise
            raise RunnerError(
                f"only {count} of {len(submissions)} were queued, up to "
                f"{submissions[count - 1].key}: {error}"
            ) from error
        yield one, message_id


def _list(shop: Shop, submissions: Sequence[Submission]) -> None:
    if submissions[0].sweep:
        listings.add_to_sweep(shop, submissions)
    if submissions[0].project:
        # Whose keys are good for artifacts alone submits as ever, and names keys.
        with suppress(AccessDenied):
            listings.add_to_project(shop, submissions)
