"""Which brokers to open, renew and retire as credentials come and go; decided purely."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runner.queues.credential import Credential

Account = tuple[str, str]
"""A broker's registry name, and the scope of a credential: its broker's ``project``."""


@dataclass(frozen=True, slots=True)
class Open:
    """An account that was not known: open its broker and take from its queues."""

    credential: Credential


@dataclass(frozen=True, slots=True)
class Renew:
    """Another secret for the same account: what is held stays held, receiving goes on."""

    credential: Credential


@dataclass(frozen=True, slots=True)
class Retire:
    """The credential is gone: receive nothing more, settle what is held, then close."""

    account: Account


Step = Open | Renew | Retire


def account_of(credential: Credential) -> Account:
    """Return what a credential opens; it outlives a rotation."""
    return credential.broker, credential.scope


def place_of(credential: Credential) -> tuple[str, ...]:
    """Return where the account lies: with another region, say, it is another one."""
    parts = ("region", "endpoint", "emulator")
    return (*account_of(credential), *(str(getattr(credential, part, "")) for part in parts))


def plan(before: Mapping[Account, Credential], after: Iterable[Credential]) -> tuple[Step, ...]:
    """Return the steps from the credentials in use to those that are there now, retiring first.

    Where several open one account, the one in use stays so for as long as it is there, then the
    first by origin follows: a set that is told in another order changes nothing.
    """
    wanted = _chosen(before, after)
    retired = [Retire(account) for account in sorted(before.keys() - wanted.keys())]
    steps: list[Step] = []
    for account, credential in sorted(wanted.items()):
        known = before.get(account)
        if known is None:
            steps.append(Open(credential))
        elif known.fingerprint != credential.fingerprint:
            steps.append(Renew(credential))
    return (*retired, *steps)


def _chosen(
    before: Mapping[Account, Credential], after: Iterable[Credential]
) -> dict[Account, Credential]:
    chosen: dict[Account, Credential] = {}
    for credential in sorted(after, key=lambda one: (one.origin, one.fingerprint)):
        account = account_of(credential)
        known = before.get(account)
        is_in_use = known is not None and known.fingerprint == credential.fingerprint
        if account not in chosen or is_in_use:
            chosen[account] = credential
    return chosen
