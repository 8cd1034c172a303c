"""Which of the credentials that were found are used: one for each account. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from runner.queues.credential import AwsCredential, Credential, GoogleCredential
from runner.queues.credentials.contents import Trouble
from runner.queues.credentials.directory import taking
from runner.queues.credentials.finding import Found


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is used, and what is to be said about the rest."""

    #: By scope.
    used: tuple[Found, ...] = ()
    #: Further keys of an account, and names that two accounts want.
    troubles: tuple[Trouble, ...] = ()

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """The whole set."""
        return tuple(one.credential for one in self.used)


def choose(
    found: Sequence[Found], before: Chosen | None = None, refused: Collection[str] = ()
) -> Chosen:
    """Choose one credential for each account; whoever comes first in ``found`` has precedence.

    What was used ``before`` stays while it is there, so that a second file with the same key, or
    with another one, disturbs nobody; a secret that the broker ``refused`` makes way for another.
    """
    kept = {one.account: one for one in (before or Chosen()).used}
    accounts: dict[tuple[str, ...], list[Found]] = {}
    for one in found:
        accounts.setdefault(one.account, []).append(one)
    used, troubles = [], []
    for account, rivals in accounts.items():
        best = _best(rivals, kept.get(account), refused)
        same = [one for one in rivals if one.secret == best.secret]
        used.append(taking(best, tuple(name for one in same for name in one.credential.queues)))
        troubles += [_spare(best, one) for one in rivals if one.secret != best.secret]
    return _without_clashes(used, kept, troubles)


def _best(rivals: Sequence[Found], kept: Found | None, refused: Collection[str]) -> Found:
    def rank(one: Found) -> tuple[bool, bool, bool, int]:
        return (
            one.secret not in refused,
            kept is not None and one.secret == kept.secret,
            kept is not None and one.credential.origin == kept.credential.origin,
            one.written if len({rival.secret for rival in rivals}) > 1 else 0,
        )

    return max(rivals, key=rank)


def _without_clashes(
    used: Iterable[Found], kept: Mapping[tuple[str, ...], Found], troubles: list[Trouble]
) -> Chosen:
    owners: dict[tuple[str, str], Found] = {}
    for one in sorted(used, key=lambda one: one.account not in kept):
        name = (one.credential.broker, one.credential.scope)
        owner = owners.setdefault(name, one)
        if owner is not one:
            troubles.append(_clash(owner, one))
    return Chosen(tuple(owners[name] for name in sorted(owners)), tuple(troubles))


def _spare(used: Found, spare: Found) -> Trouble:
    return Trouble(
        spare.credential.origin,
        f"opens {spare.credential.scope} with another key than {used.credential.origin}, which is "
        "used; this one is its spare",
        (used.secret, spare.secret),
    )


def _clash(used: Found, other: Found) -> Trouble:
    return Trouble(
        other.credential.origin,
        f"would be called {other.credential.scope}, as {used.credential.origin} is, which is used: "
        "rename one of the directories",
        (used.secret, other.secret),
    )


def steps(
    before: Sequence[Credential], after: tuple[Credential, ...]
) -> list[tuple[Credential, ...]]:
    """Return the sets that lead from one to the next: nothing moves to another place in one step.

    Of the same scope is the same account; a profile that now names another region is none.
    """
    places = {(one.broker, one.scope): _place(one) for one in before}
    staying = tuple(
        one for one in after if places.get((one.broker, one.scope), _place(one)) == _place(one)
    )
    return [after] if staying == after else [staying, after]


def _place(credential: Credential) -> tuple[str, ...]:
    match credential:
        case AwsCredential(region=region, endpoint=endpoint):
            return (region, endpoint)
        case GoogleCredential(emulator=emulator):
            return (emulator,)
    return ()
