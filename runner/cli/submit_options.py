"""The options of ``submit``, and how they become what a message says."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from runner.cli import queues, stores
from runner.cli.arguments import add_json
from runner.errors import Misconfigured
from runner.request.units import parse_duration, parse_size
from runner.settings.parser import Parser

_PYTHON = re.compile(r"\d+(\.\d+){0,2}")


def add_options(parser: Parser) -> None:
    """Add the options of ``submit``."""
    _add_what(parser.add_argument_group("The experiment"))
    _add_needs(parser.add_argument_group("What it needs"))
    _add_when(parser.add_argument_group("Time and failure"))
    _add_where(parser.add_argument_group("Where to, and then"))
    add_json(parser)


def _add_what(group: Any) -> None:
    group.add_argument(
        "-m", "--module", action="store_true", help="run a module, as python -m does"
    )
    group.add_argument("--key", help="name of the experiment (default: made of the script's name)")
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


def needs_of(chosen: Namespace) -> Mapping[str, Any]:
    """Return ``resources_needed``. Raises Misconfigured."""
    cards = _count(chosen, "gpus")
    needs: dict[str, Any] = {
        "cpus": _count(chosen, "cores"),
        "ram": _checked(chosen, "memory", parse_size, "a size such as 16gib"),
        "hdd": _checked(chosen, "disk", parse_size, "a size such as 16gib"),
        # Slots of each card; how many cards is gpuCount.
        "gpus": min(cards, 1),
        "gpuCount": cards,
    }
    memory = _checked(chosen, "gpu_memory", parse_size, "a size such as 16gib")
    if memory and not cards:
        raise Misconfigured("--gpu-memory is given without --gpus: say how many cards, --gpus 1")
    return needs | ({"gpuMem": memory} if memory else {})


def durations_of(chosen: Namespace) -> Mapping[str, str | None]:
    """Return the durations as written, by their option's name. Raises Misconfigured."""
    return {
        name: _checked(chosen, name, parse_duration, "a duration such as 20m, 1h30m or 48h")
        for name in ("max_duration", "lifetime", "checkpoint")
    }


def attempts_of(chosen: Namespace) -> int | None:
    """Return the attempts in all. Raises Misconfigured."""
    return None if chosen.max_attempts is None else _count(chosen, "max_attempts")


def env_of(chosen: Namespace) -> Mapping[str, str]:
    """Return the experiment's variables. Raises Misconfigured."""
    env = {}
    for text in chosen.env:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Misconfigured(f"--env is {text!r}: give NAME=VALUE")
        env[name] = value
    return env


def python_of(chosen: Namespace, default: str) -> str | None:
    """Return the Python version; ``None`` for that of an image. Raises Misconfigured."""
    if chosen.container and not chosen.python:
        return None
    version = str(chosen.python or default)
    if not _PYTHON.fullmatch(version):
        raise Misconfigured(f"--python is {version!r}: give a version such as 3.11")
    return version


def _count(chosen: Namespace, name: str) -> int:
    text = getattr(chosen, name)
    if not (text.isascii() and text.isdigit()):
        raise Misconfigured(f"--{name.replace('_', '-')} is {text!r}: give a whole number")
    return int(text)


def _checked(
    chosen: Namespace, name: str, parse: Callable[[str], Any], accepted: str
) -> str | None:
    text: str | None = getattr(chosen, name)
    if text is None:
        return None
    try:
        parse(text)
    except (ValueError, OverflowError) as error:
        flag = name.replace("_", "-")
        raise Misconfigured(f"--{flag} is {text!r}: give {accepted}") from error
    return text
