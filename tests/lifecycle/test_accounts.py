"""What changes in the set of credentials means for the brokers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.sources.accounts import Open, Renew, Retire, account_of, place_of, plan
from runner.queues.credential import AwsCredential, Credential


def credential(scope: str = "a", fingerprint: str = "1", origin: str = "o") -> Credential:
    """Return a credential."""
    return Credential(broker="sqs", scope=scope, origin=origin, fingerprint=fingerprint)


CREDENTIALS = st.builds(
    credential, st.sampled_from("abc"), st.sampled_from("123"), st.sampled_from("xyz")
)


def test_what_is_new_is_opened_and_what_is_gone_is_retired() -> None:
    """Each by itself; the others are not touched."""
    a, b, c = credential("a"), credential("b"), credential("c")
    before = {account_of(one): one for one in (a, b)}
    assert plan(before, [b, c]) == (Retire(("sqs", "a")), Open(c))


def test_a_rotated_secret_renews_its_broker() -> None:
    """It is neither closed nor opened for it."""
    new = credential(fingerprint="2")
    assert plan({("sqs", "a"): credential()}, [new]) == (Renew(new),)


def test_a_second_credential_of_an_account_is_no_second_broker() -> None:
    """The one in use stays so; when it goes, the other takes its place without a gap."""
    first, second = credential(fingerprint="1", origin="x"), credential(fingerprint="2", origin="a")
    before = {("sqs", "a"): first}
    assert plan(before, [second, first]) == ()
    assert plan(before, [second]) == (Renew(second),)


def test_another_region_is_another_place() -> None:
    """The account's name may stay the same; what is held there cannot be settled here."""
    one = AwsCredential(broker="sqs", scope="a", origin="o", fingerprint="1", region="us-west-2")
    other = AwsCredential(broker="sqs", scope="a", origin="o", fingerprint="2", region="eu-west-1")
    rotated = AwsCredential(
        broker="sqs", scope="a", origin="o", fingerprint="3", region="us-west-2", access_key="k"
    )
    assert place_of(one) != place_of(other)
    assert place_of(one) == place_of(rotated)


@given(st.lists(CREDENTIALS), st.lists(CREDENTIALS), st.randoms())
def test_after_the_steps_nothing_is_left_to_do(
    first: list[Credential], second: list[Credential], random: object
) -> None:
    """Whatever the sets: taking the steps leads to the second, in whatever order it is told."""
    used: dict[tuple[str, str], Credential] = {}
    for wanted in (first, second):
        for step in plan(used, wanted):
            match step:
                case Open(one) | Renew(one):
                    used[account_of(one)] = one
                case Retire(account):
                    del used[account]
    random.shuffle(second)  # type: ignore[attr-defined]
    assert plan(used, second) == ()
    assert used.keys() == {account_of(one) for one in second}
    assert {one.fingerprint for one in used.values()} <= {one.fingerprint for one in second}
