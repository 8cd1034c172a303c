"""``studio-runner demo``: real experiments through a daemon of its own, and what came of them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio

from runner.archives.select import select
from runner.cli import show
from runner.cli.arguments import ClientCommand
from runner.cli.daemon import ask_once
from runner.cli.demo_board import Board, Screen, Trial
from runner.cli.queues import Access
from runner.client.message import Submission, message
from runner.client.shop import LocalShop
from runner.control.client import NoDaemon
from runner.errors import RunnerError
from runner.queues.addresses import LocalAddress
from runner.queues.base import Inspectable
from runner.settings import OPTIONS, Settings
from runner.settings.option import variables
from runner.settings.parser import FILE_SUFFIX, Parser
from runner.settings.sources import SourceOptions

_ABOUT = (
    "Start a daemon with directories of its own, queue a few small trainings of a digit "
    "classifier with different parameters, one of which fails on purpose and asks to be tried "
    "again, and show how they go and what they found. The first time scikit-learn is installed."
)
_PROJECT = Path(__file__).with_name("demo_project")
_QUEUE = "local_demo"
_LOOK_EVERY = 0.25
_PATIENCE = 30.0
_GRID = (
    ("small", ("--hidden", "8")),
    ("medium", ("--hidden", "32")),
    ("large", ("--hidden", "128")),
    ("slow", ("--hidden", "32", "--rate", "0.001")),
    ("fast", ("--hidden", "32", "--rate", "0.1")),
    ("second-try", ("--hidden", "64", "--fail-once")),
)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the demo; exit status 0 when every experiment has succeeded."""
    command = ClientCommand("demo", _ABOUT, "[--output DIRECTORY]", settings=(), arguments=_add)
    _, chosen = command.parse(argv, environ)
    output = Path(chosen.output).absolute()
    options = _options(output)
    settings = Settings.load(options, {}, command="demo")
    shop = LocalShop(settings.local_store_root[0])
    log = output / "daemon.log"
    show.note(f"demo: everything is below {output}; the daemon's log is {log.name}")
    with _daemon(options, log, _without_sources(environ)) as daemon:
        good = anyio.run(_play, settings, shop, daemon)
    if not good:
        raise RunnerError(f"not every experiment has succeeded; {log} says more")
    print(f"outputs: {shop.root}/storage/experiments/KEY, each with output.tar and modeldir.tar")
    return 0


def _add(parser: Parser) -> None:
    parser.add_argument(
        "--output", default="demo-output", metavar="DIRECTORY", help="default: demo-output"
    )


def _options(output: Path) -> list[str]:
    options = {
        "queue-root": output / "queues",
        "certs-dir": output / "certs",
        "local-store-root": output / "store",
        "state-dir": output / "state",
        "lock-dir": output / "locks",
        "retry-delay": "1s",
        "listen": "",  # somebody's own daemon may have the port
        "log-format": "json",
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    # The demo is its own sender; what it runs was written here.
    return [*words, "--allow-root-experiments"] if os.geteuid() == 0 else words


def _without_sources(environ: Mapping[str, str]) -> dict[str, str]:
    """Leave out what would lead the demo's daemon to somebody's real queues."""
    left_out = {"GOOGLE_APPLICATION_CREDENTIALS", *variables("config")}
    for option in OPTIONS.values():
        if option.group == SourceOptions.GROUP:
            left_out.update(*map(variables, (*option.names, option.name + FILE_SUFFIX)))
    return {name: value for name, value in environ.items() if name not in left_out}


@contextmanager
def _daemon(
    options: Sequence[str], log: Path, environ: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a daemon, and drain it at the end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "runner", "run", *options]
    with (
        log.open("ab") as out,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=dict(environ)
        ) as daemon,
    ):
        try:
            yield daemon
        finally:
            for _ in range(2):  # the first drains, the second stops
                daemon.terminate()
                try:
                    daemon.wait(_PATIENCE)
                except subprocess.TimeoutExpired:
                    continue
                break
            else:
                daemon.kill()


async def _play(settings: Settings, shop: LocalShop, daemon: subprocess.Popen[bytes]) -> bool:
    async with Access(settings, {}).queue(LocalAddress(name=_QUEUE)) as queue:
        board = Board(await _submit(queue, shop), shop, settings.state_dir)
        with Screen(board) as screen:
            while not board.is_over():
                if daemon.poll() is not None:
                    raise RunnerError(f"the daemon has ended with status {daemon.returncode}")
                screen.draw(await _running(settings))
                board.bury(letter.message.id for letter in await queue.dead())
                await anyio.sleep(_LOOK_EVERY)
            screen.draw({})
        screen.table()
    return board.is_good()


async def _submit(queue: Inspectable, shop: LocalShop) -> list[Trial]:
    digest, _ = shop.put_workspace(_PROJECT, select(_PROJECT))
    trials = []
    stamp = time.strftime("%H%M%S")
    for name, args in _GRID:
        submission = _submission(f"{name}-{stamp}", args, shop, digest)
        shop.put_experiment(submission)
        message_id = await queue.publish(json.dumps(message(submission)).encode())
        parameters = " ".join(args)
        trials.append(Trial(submission.key, parameters, submission.time_added, message_id))
    return trials


def _submission(key: str, args: tuple[str, ...], shop: LocalShop, digest: str) -> Submission:
    return Submission(
        key=key,
        filename="train.py",
        args=args,
        requirements=("scikit-learn",),
        python=".".join(platform.python_version_tuple()[:2]),
        store=shop.root,
        workspace=digest,
        directory=_PROJECT,
        needs={"cpus": 1, "ram": "512mib", "hdd": "512mib", "gpus": 0},
        time_added=time.time(),
        project="demo",
        max_duration="10m",
        # Every training on its one core, however many threads its libraries would start.
        env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        retry_on=("exit",) if "--fail-once" in args else (),
        max_attempts=2 if "--fail-once" in args else None,
    )


async def _running(settings: Settings) -> dict[str, dict[str, Any]]:
    try:
        status = await ask_once(settings, "status")
    except NoDaemon:
        return {}
    return {one["key"]: one for one in status["running"]}
