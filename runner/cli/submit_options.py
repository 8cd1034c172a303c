"""The options of ``submit``, and how they become what a message says."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from runner.cli import queues, stores
from runner.cli.arguments import add_json
from runner.client import grid
from runner.client.options import Options
from runner.errors import Misconfigured
from runner.settings.parser import Parser


def add_options(parser: Parser) -> None:
    """Add the options of ``submit``."""
    _add_what(parser.add_argument_group("The experiment"))
    _add_grid(parser.add_argument_group("A sweep"))
    _add_needs(parser.add_argument_group("What it needs"))
    _add_when(parser.add_argument_group("Time and failure"))
    _add_where(parser.add_argument_group("Where to, and then"))
    add_json(parser)


def _add_what(group: Any) -> None:
    group.add_argument(
        "-m", "--module", action="store_true", help="run a module, as python -m does"
    )
    group.add_argument(
        "--key",
        help="name of the experiment (default: NAME-1 … of --sweep, else made of the script's)",
    )
    group.add_argument("--project", help="project that it belongs to")
    group.add_argument(
        "--requirements",
        action="append",
        default=[],
        metavar="FILE",
        help="requirements file, may be repeated (default: requirements.txt, else the "
        "dependencies in pyproject.toml, else what is installed in the current environment)",
    )
    group.add_argument(
        "--python", metavar="VERSION", help="such as 3.11 (default: this one, or the image's)"
    )
    group.add_argument(
        "--container",
        metavar="IMAGE",
        default="",
        help="container image to run in, which the runner must trust: docker://…, library://…, "
        "oras://…, an object in a store, or a path on the runner's machine; of the current "
        "environment nothing is installed over it",
    )
    group.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="variable, may be repeated"
    )


def _add_grid(group: Any) -> None:
    group.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="NAME=VALUE,…",
        help="an experiment for each value, given to the script as --NAME VALUE, or in place of "
        "{NAME} in its arguments; may be repeated for the product of all",
    )
    group.add_argument(
        "--sweep",
        metavar="NAME",
        default="",
        help="what results and plot find them by, and what they are called after, NAME-1, NAME-2 "
        "…, on from what the sweep has (default with --grid: made of the script's name)",
    )
    group.add_argument(
        "--grid-limit",
        type=int,
        default=grid.MOST,
        metavar="N",
        help=f"refuse a grid of more experiments (default: {grid.MOST})",
    )
    group.add_argument(
        "--dry-run", action="store_true", help="list what would be queued, and queue nothing"
    )


def _add_needs(group: Any) -> None:
    group.add_argument("--cores", default="1", metavar="N", help="default: 1")
    group.add_argument("--memory", default="1gib", metavar="SIZE", help="default: 1gib")
    group.add_argument(
        "--disk", default="2gib", metavar="SIZE", help="for artifacts and results (default: 2gib)"
    )
    group.add_argument("--gpus", default="0", metavar="N", help="cards (default: 0)")
    group.add_argument("--gpu-memory", metavar="SIZE", help="on each card")


def _add_when(group: Any) -> None:
    group.add_argument("--max-duration", metavar="DURATION", help="end the run after this time")
    group.add_argument(
        "--lifetime", metavar="DURATION", help="do not run any more so long after the submission"
    )
    group.add_argument(
        "--checkpoint", metavar="DURATION", help="store the results this often while it runs"
    )
    group.add_argument(
        "--retry-on",
        action="append",
        default=[],
        metavar="CAUSE",
        help="try again also after this, such as exit; may be repeated",
    )
    group.add_argument("--max-attempts", metavar="N", help="attempts in all")


def _add_where(group: Any) -> None:
    group.add_argument(
        "--queue",
        default="local_default",
        metavar="QUEUE",
        help=f"{queues.HELP} (default: local_default)",
    )
    queues.add_credential(group)
    stores.add_options(group, "the first --local-store-root")
    group.add_argument(
        "--public-key-path",
        metavar="FILE",
        help="seal the request with this public key of the runner's (see studio-runner keys)",
    )
    group.add_argument(
        "--signing-key-path", metavar="FILE", help="and sign it with this private key of yours"
    )
    group.add_argument("--yes", action="store_true", help="do not ask before a large upload")
    group.add_argument("--wait", action="store_true", help="wait for the end, exit as it does")
    group.add_argument(
        "--follow", action="store_true", help="show the output while it runs; implies --wait"
    )


def options_of(chosen: Namespace) -> Options:
    """Return what is asked for. Raises Misconfigured."""
    asked = {field.name: getattr(chosen, field.name) for field in fields(Options)}
    return Options(**(asked | {"env": _env_of(chosen)}))


def _env_of(chosen: Namespace) -> Mapping[str, str]:
    env = {}
    for text in chosen.env:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Misconfigured(f"--env is {text!r}: give NAME=VALUE")
        env[name] = value
    return env


def points_of(chosen: Namespace) -> Sequence[Mapping[str, str]]:
    """Return the points of the grid; none without one. Raises Misconfigured."""
    found = grid.grid_of(chosen.grid)
    return tuple(grid.points(found, chosen.grid_limit)) if found else ()
