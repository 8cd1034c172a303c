"""Which credentials are used when there are several for one account."""

from __future__ import annotations

from dataclasses import replace

from runner.queues.credential import AwsCredential, Credential, GoogleCredential
from runner.queues.credentials.choosing import choose, steps
from runner.queues.credentials.finding import Found, marked
from runner.redaction import Secret


def _google(
    origin: str, key: str = "k", project: str = "p", written: int = 0, queues: tuple[str, ...] = ()
) -> Found:
    credential = GoogleCredential(
        broker="pubsub",
        scope=project,
        origin=origin,
        fingerprint="",
        key=Secret(key),
        queues=queues,
    )
    return Found(marked(credential), (), frozenset({origin}), written)


def _aws(origin: str, key: str = "K", region: str = "r", scope: str = "aws_a") -> Found:
    credential = AwsCredential(
        broker="sqs",
        scope=scope,
        origin=origin,
        fingerprint="",
        region=region,
        access_key=key,
        secret_key=Secret("s" + key),
    )
    return Found(marked(credential), (), frozenset({origin}))


def _origins(credentials: tuple[Credential, ...]) -> list[str]:
    return [one.origin for one in credentials]


def test_the_same_key_at_two_places_is_one_credential() -> None:
    """Nobody is told, and the queues that stand beside both are taken."""
    chosen = choose([_google("a", queues=("x",)), _google("b", queues=("y", "x"))])
    (one,) = chosen.credentials
    assert (one.origin, one.queues) == ("a", ("x", "y"))
    assert chosen.troubles == ()


def test_of_two_keys_for_a_project_one_is_used() -> None:
    """The one written last at first; then the one in use, whatever appears; both are named."""
    first = choose([_google("a", "k1", written=1), _google("b", "k2", written=2)])
    assert _origins(first.credentials) == ["b"]
    (trouble,) = first.troubles
    assert "b" in trouble.sentence
    assert trouble.about == "a"
    assert "spare" in trouble.sentence
    newer = _google("0", "k3", written=9)
    then = choose([newer, _google("b", "k2", written=2)], first)
    assert _origins(then.credentials) == ["b"]


def test_the_spare_follows_when_the_key_goes() -> None:
    """Same scope, other fingerprint: a rotation."""
    first = choose([_google("a", "k1", written=2), _google("b", "k2", written=1)])
    then = choose([_google("b", "k2")], first)
    assert _origins(then.credentials) == ["b"]
    assert then.credentials[0].scope == first.credentials[0].scope
    assert then.credentials[0].fingerprint != first.credentials[0].fingerprint


def test_a_refused_key_makes_way() -> None:
    """And stays where there is no other."""
    both = [_google("a", "k1", written=2), _google("b", "k2", written=1)]
    first = choose(both)
    refused = {first.used[0].secret}
    assert _origins(choose(both, first, refused).credentials) == ["b"]
    assert _origins(choose(both[:1], first, refused).credentials) == ["a"]


def test_a_copy_with_a_better_name_changes_nothing() -> None:
    """What is in use stays, with its fingerprint."""
    first = choose([_google("b")])
    then = choose([_google("a"), _google("b")], first)
    assert then.credentials == first.credentials


def test_accounts_that_want_one_name_are_told_apart() -> None:
    """The one in use stays, the other is not used and named."""
    first = choose([_aws("z/lab", "K1")])
    then = choose([_aws("a/lab", "K2"), _aws("z/lab", "K1")], first)
    assert _origins(then.credentials) == ["z/lab"]
    (trouble,) = then.troubles
    assert trouble.about == "a/lab"
    assert "rename" in trouble.sentence


def test_a_key_in_two_regions_is_two_credentials() -> None:
    """Queues belong to a region."""
    chosen = choose([_aws("a", region="r1"), _aws("b", region="r2", scope="aws_b")])
    assert _origins(chosen.credentials) == ["a", "b"]


def test_a_rotation_is_one_step_and_a_move_is_two() -> None:
    """A profile that names another region leaves the set before it enters it."""
    here = _aws("a", "K1", "r1").credential
    rotated = _aws("a", "K2", "r1").credential
    moved = _aws("a", "K2", "r2").credential
    other = _google("g").credential
    assert steps((here, other), (rotated, other)) == [(rotated, other)]
    assert steps((here, other), (moved, other)) == [(other,), (moved, other)]
    assert steps((), (here,)) == [(here,)]
    assert steps((here,), ()) == [()]


def test_another_emulator_is_another_place() -> None:
    """What is held at one cannot be settled at the other."""
    before = _google("g").credential
    assert isinstance(before, GoogleCredential)
    after = replace(before, emulator="h:1")
    assert steps((before,), (after,)) == [(), (after,)]
