"""``studio-runner uninstall-service``: take back what ``install-service`` made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runner.cli.arguments import ClientCommand
from runner.cli.install_service import add_common, carry_out, check_rights
from runner.service import machine, plan
from runner.settings.parser import Parser

_ABOUT = (
    "Stop the service and everything it runs, and remove what install-service made. Credentials, "
    "the environment file, the state directory and the user stay, unless --purge is given. To let "
    "runs finish first: studio-runner drain --wait."
)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Uninstall. Raises Misconfigured, RunnerError."""
    command = ClientCommand("uninstall-service", _ABOUT, "", settings=(), arguments=_arguments)
    _, chosen = command.parse(argv, environ)
    check_rights(chosen)
    steps = plan.uninstall(machine.look(chosen.root), plan.Wish(purge=chosen.purge))
    carry_out(steps, really=not chosen.dry_run)
    return 0


def _arguments(parser: Parser) -> None:
    parser.add_argument(
        "--purge",
        action="store_true",
        help="remove credentials, environment file, state, local queues and user as well",
    )
    add_common(parser)
