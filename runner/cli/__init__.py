"""The ``studio-runner`` command: finds the command's module and turns errors into sentences."""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

from runner.errors import Misconfigured, RunnerError

#: Each command is the module of its name, with ``main(argv, environ) -> int``.
COMMANDS: Mapping[str, str] = {
    "run": "take experiments from queues and run them: the daemon",
    "submit": "pack this directory and queue a script of it as an experiment",
    "results": "a table of what came of a sweep's or a project's experiments, also as CSV",
    "plot": "a number over the parameters of a sweep, or over the steps of runs",
    "fetch": "the artifacts of an experiment",
    "status": "what the daemon on this machine runs and has finished, or how one experiment stands",
    "top": "what runs on this machine, live in a terminal",
    "logs": "the output of an experiment, live with -f",
    "cancel": "stop an experiment",
    "drain": "let the daemon on this machine finish what it runs, and end",
    "detach": "end the daemon, and leave what runs to the next one",
    "reload": "have the daemon execute itself anew: a new version, changed options; runs go on",
    "suspend": "have the daemon claim nothing; what runs goes on",
    "resume": "have the daemon claim again after suspend",
    "gpus": "the cards of this machine: how they do, who has them, why one is not given out",
    "fleet": "the runners that tell of themselves in a store, and what each does",
    "queue": "look into the queues of every broker and their dead letters, empty them",
    "watch": "what runners report about the experiments of a queue, as it happens",
    "cache": "look at what is kept of artifacts, check it, remove it",
    "keys": "make the keys for sealed and signed requests, and for reports",
    "doctor": "what works here, what does not, and the command that mends it",
    "config": "every option's value, and where it came from",
    "completion": "what bash, zsh and fish need to complete commands, options and keys",
    "man": "the manual page: every command and option",
    "install-service": "make the daemon a service of systemd",
    "uninstall-service": "take that back",
    "demo": "train a few small models through a daemon of its own, and show the results",
}
_USAGE = 2
_INTERRUPTED = 130

_HELP = """usage: studio-runner COMMAND [OPTION…]

Runs queued StudioML experiments on the machines you own.

commands:
{commands}

To begin, in two terminals:
  studio-runner run
  studio-runner submit --follow train.py --lr 0.1

studio-runner COMMAND --help says more; docs/defaults.md lists every option. Exit status: 0 when
all went well, 1 when something failed, 2 when the command or the configuration cannot be
understood; submit --wait exits with the status of the experiment."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    _write_anything()
    try:
        status = _run(words)
        sys.stdout.flush()
    except Misconfigured as error:
        return _complain(error, _USAGE)
    except RunnerError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough: | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _run(words: Sequence[str]) -> int:
    name, *rest = words or ["--help"]
    if name == "--version":
        print(_version())
        return 0
    if name == "help" and rest:
        name, rest = rest[0], ["--help"]
    if name in {"-h", "--help", "help"}:
        print(_help())
        return 0
    status: int = _module(name).main(rest, os.environ)
    return status


def _write_anything() -> None:
    """Have what a terminal's encoding lacks written as an escape: a key may have any letters."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _version() -> str:
    from runner import __version__, revision  # noqa: PLC0415 - the one use

    return f"studio-runner {__version__}{revision.shown()}"


def _module(name: str) -> ModuleType:
    if name not in COMMANDS:
        import difflib  # noqa: PLC0415 - the one use

        close = difflib.get_close_matches(name, list(COMMANDS), n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(COMMANDS)}"
        raise Misconfigured(f"there is no command {name!r}{hint}")
    # Modules are no garbage: to look for some among them takes a sixth of the start.
    gc.disable()
    try:
        return importlib.import_module(f"runner.cli.{name.replace('-', '_')}")
    finally:
        gc.enable()


def _complain(error: RunnerError, status: int) -> int:
    from runner.redaction import Redactor  # noqa: PLC0415 - seldom needed
    from runner.redaction.names import of_variables  # noqa: PLC0415 - likewise

    redactor = Redactor()
    redactor.add(*of_variables(os.environ.items()))
    print(f"studio-runner: {redactor.redact(str(error))}", file=sys.stderr)
    return status


def _help() -> str:
    rows = (f"  {name:<17} {about}" for name, about in COMMANDS.items())
    return _HELP.format(commands="\n".join(rows))
