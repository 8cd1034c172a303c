"""``studio-runner submit``: pack this directory and queue a script of it as an experiment."""

from __future__ import annotations

import json
import platform
import re
import secrets
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from runner.app import choosing
from runner.archives.select import Selection, select
from runner.cli import queues, show, stores
from runner.cli.arguments import ClientCommand, own_words
from runner.cli.bucket import Bucket
from runner.cli.daemon import control_socket
from runner.cli.following import Ending, Output, Watch
from runner.cli.message import Submission, message
from runner.cli.queues import Access
from runner.cli.requirement_files import find
from runner.cli.sealing import Wrap, wrapping
from runner.cli.shop import Shop
from runner.cli.submit_options import (
    add_options,
    attempts_of,
    durations_of,
    env_of,
    needs_of,
    python_of,
)
from runner.errors import Misconfigured, RequestError
from runner.images.reference import NotAnImage, of_location
from runner.model import Message
from runner.queues.addresses import LocalAddress, QueueAddress
from runner.request.location import IMAGE_LABEL
from runner.request.schema import decode

_ABOUT = (
    "Pack the current directory, put it into a store, and queue an experiment that runs SCRIPT "
    "with ARGS in a copy of it. Files that .gitignore or .studioignore name, .git, virtual "
    "environments and files that look like credentials stay behind."
)
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
        settings=(*stores.SETTINGS, *queues.SETTINGS),
        client_keys=stores.KEYS,
        arguments=add_options,
    )
    own, words = own_words(command.parser, argv)
    settings, chosen = command.parse(own, environ)
    if not words:
        raise Misconfigured(f"name what to run: studio-runner submit {_USAGE}")
    address = queues.address_in(chosen.queue, "--queue")
    access = queues.Access(settings, environ, chosen.credential or "")
    access.opening(address)  # what is missing is said before anything is packed
    wrap = wrapping(chosen.public_key_path, chosen.signing_key_path)
    with stores.opened(settings, chosen, environ) as shops:
        shop = stores.first(shops)
        _check_reach(address, shop, is_chosen=bool(stores.chosen_store(chosen, environ)))
        submission = _submission(chosen, words, environ, shop)
        try:
            publish = partial(_publish, wrap=wrap)
            return anyio.run(publish, access, chosen, submission, shop, address)
        except KeyboardInterrupt:
            again = "studio-runner logs -f KEY, studio-runner cancel KEY"
            show.note(f"{submission.key} goes on: {again}")
            return _INTERRUPTED


def _check_reach(address: QueueAddress, shop: Shop, *, is_chosen: bool) -> None:
    """Refuse a store that nobody else can read, for a queue that others take from."""
    if isinstance(address, LocalAddress) or isinstance(shop.place, Bucket):
        return
    if not is_chosen:
        raise Misconfigured(
            f"{address} is taken from by other machines, which cannot read {shop}: name a bucket "
            "with --store s3://HOST/BUCKET, or with the key store in the file of --config"
        )
    show.note(
        f"note: runners of {address} need {shop} at the same place, and --allow-file-artifacts"
    )


def _submission(
    chosen: Namespace, words: Sequence[str], environ: Mapping[str, str], shop: Shop
) -> Submission:
    workspace = Path.cwd()
    needs, durations, env = needs_of(chosen), durations_of(chosen), env_of(chosen)
    python, attempts = python_of(chosen, _this_python()), attempts_of(chosen)
    requirements = find(chosen.requirements, workspace, environ, has_image=bool(chosen.container))
    selection = select(workspace)
    if not chosen.module:
        _check_script(words[0], workspace, selection)
    key = chosen.key or _key(words[0])
    if chosen.key and stores.knowing([shop], key) is not None:
        raise Misconfigured(f"there is an experiment {key!r} in {shop}: choose another --key")
    _tell(selection, requirements.origin, len(requirements.lines), requirements.notes)
    _ask_when_large(selection, yes=chosen.yes)
    submission = Submission(
        key=key,
        filename="-m" if chosen.module else words[0],
        args=tuple(words if chosen.module else words[1:]),
        requirements=requirements.lines,
        python=python,
        store=shop.place,
        workspace="",
        directory=workspace,
        needs=needs,
        time_added=time.time(),
        project=chosen.project,
        env=env,
        retry_on=tuple(c for text in chosen.retry_on for c in text.split(",") if c),
        max_attempts=attempts,
        container=chosen.container.strip(),
        **durations,
    )
    _check(submission)
    digest, packed = shop.put_workspace(workspace, selection)
    for name in packed.changed:
        show.note(f"note: {name} changed while it was packed")
    return submission.but(workspace=digest)


def _check(submission: Submission) -> None:
    """Refuse here what every runner would refuse. Raises Misconfigured."""
    try:
        request = decode(Message("", json.dumps(message(submission)).encode(), ""))
        if submission.container:
            of_location(request.artifacts[IMAGE_LABEL].location)
    except RequestError as error:
        raise Misconfigured(f"the experiment cannot be submitted: {error}") from error
    except NotAnImage as error:
        raise Misconfigured(f"--container is {submission.container!r}: {error}") from error


def _check_script(script: str, workspace: Path, selection: Selection) -> None:
    name = Path(script).as_posix().removeprefix("./")
    if name in selection.files:
        return
    for left in selection.left_out:
        if name == left.name or name.startswith(f"{left.name}/"):
            raise Misconfigured(f"the script {script!r} would be left out: {left.reason}")
    raise Misconfigured(f"the script {script!r} is not in {workspace}: name a file inside it")


def _this_python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def _key(script: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(script).stem).strip("-")[:60] or "experiment"
    return f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def _tell(selection: Selection, origin: str, count: int, notes: Sequence[str]) -> None:
    left = selection.left_out
    show.note(f"workspace: {len(selection.files)} files, {show.size(selection.bytes)}")
    for one in left[:_SHOWN_LEFT_OUT]:
        show.note(f"  left out: {one.name} ({one.reason})")
    if len(left) > _SHOWN_LEFT_OUT:
        show.note(f"  left out: {len(left) - _SHOWN_LEFT_OUT} more")
    show.note(f"requirements: {count} from {origin}")
    for sentence in notes:
        show.note(f"  {sentence}")


def _ask_when_large(selection: Selection, *, yes: bool) -> None:
    if selection.bytes <= _LARGE or yes:
        return
    large = f"the workspace has {show.size(selection.bytes)}"
    if not sys.stdin.isatty():
        raise Misconfigured(f"{large}: say --yes, or name what is not needed in .studioignore")
    if input(f"{large}. Submit it all the same? [y/N] ").strip().lower() not in {"y", "yes"}:
        raise Misconfigured("nothing was submitted; .studioignore names what is to stay behind")


async def _publish(
    access: Access,
    chosen: Namespace,
    submission: Submission,
    shop: Shop,
    address: QueueAddress,
    *,
    wrap: Wrap,
) -> int:
    shop.put_experiment(submission)
    body = json.dumps(wrap(message(submission))).encode()
    watch = Watch(
        shop,
        submission.key,
        submission.time_added,
        control_socket(access.settings),
        output=Output() if chosen.follow and not chosen.json else None,
    )
    async with access.queue(address) as queue:
        watch.message_id = await queue.publish(body)
        _confirm(access, chosen, submission, address)
        if not (chosen.wait or chosen.follow):
            return 0
        if isinstance(address, LocalAddress):
            watch.queue = queue
            return _report(chosen, submission, address, await watch.ending())
    # Elsewhere a look at the dead letters leaves a trace, and a connection need not last so long.
    return _report(chosen, submission, address, await watch.ending())


def _confirm(
    access: Access, chosen: Namespace, submission: Submission, address: QueueAddress
) -> None:
    """Say what was queued: for scripts the key alone on stdout."""
    waits = chosen.wait or chosen.follow
    if chosen.json and not waits:
        show.as_json(_facts(submission, address))
    elif not waits:
        print(submission.key)
    show.note(f"queued {submission.key} in {queues.label(address)}")
    if not choosing.choice(access.settings, address.broker).takes(address.name):
        name = queues.label(address)
        show.note(f"note: --queue-match and --queue-mismatch leave {name} to others")


def _report(
    chosen: Namespace, submission: Submission, address: QueueAddress, ending: Ending
) -> int:
    if chosen.json:
        facts = _facts(submission, address)
        end = {"cause": ending.cause, "exit_code": ending.exit_code, "detail": ending.detail}
        show.as_json(facts | end | {"attempt": ending.attempt})
    show.note(f"{submission.key}: {ending.sentence}")
    return ending.status


def _facts(submission: Submission, address: QueueAddress) -> dict[str, Any]:
    return {
        "key": submission.key,
        "queue": queues.label(address),
        "workspace": submission.workspace,
        "store": str(submission.store),
    }
