"""What of a request must not be shown: its credentials, and variables whose names look secret."""

from __future__ import annotations

from collections.abc import Iterator

from runner.model import Credentials, Request
from runner.redaction.names import is_secret_name, of_address, of_variables

#: Access keys of clouds are as long, and shown to nobody; shorter ones are names of users.
_LONG_ID = 16


def secrets_of(request: Request) -> Iterator[str]:
    """Yield the values of what is secret; some may be empty, or too short to be masked.

    Not its own names, by which everybody speaks of it.
    """
    names = {request.experiment.key, request.experiment.project, request.experiment.filename}
    yield from (value for value in _values(request) if value not in names)


def _values(request: Request) -> Iterator[str]:
    """Yield what looks secret.

    From ``config.env`` the values whose names look secret and the passwords of addresses, the
    credentials of artifacts and stores, signatures in addresses, passwords of requirements and
    of arguments whose names look secret.
    """
    yield from of_variables(request.env.items())
    for artifact in request.artifacts.values():
        yield from _of_credentials(artifact.credentials)
        location = artifact.location
        if location.path != location.key:
            yield from of_address(f"{location.scheme}://{location.host}{location.key}")
    for store in (request.storage, request.database):
        yield from _of_credentials(store.credentials)
        yield from of_address(store.endpoint)
    for requirement in request.experiment.requirements:
        for word in requirement.split():
            yield from of_address(word)
    yield from _of_arguments(request.experiment.args)


def _of_credentials(credentials: Credentials | None) -> Iterator[str]:
    if credentials is None:
        return
    yield credentials.secret_key.reveal()
    yield credentials.session_token.reveal()
    if len(credentials.access_key) >= _LONG_ID:
        yield credentials.access_key


def _of_arguments(arguments: tuple[str, ...]) -> Iterator[str]:
    before = ""
    for argument in arguments:
        yield from of_address(argument)
        name, _, value = argument.partition("=")
        if argument.startswith("-") and value:
            yield from of_variables([(name, value)])
        elif is_secret_name(before) and not argument.startswith("-"):
            yield from of_variables([(before, argument)])
        before = argument if argument.startswith("--") else ""
