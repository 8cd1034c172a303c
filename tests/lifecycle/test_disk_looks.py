"""When workspaces are looked at and who is ended: as often as needed, and not more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.archives.footprint import INODE
from runner.lifecycle.disk.looks import (
    SAVED,
    SHARE,
    Account,
    Allowance,
    Free,
    is_due,
    most_urgent,
    named,
    patience,
    sentence,
    to_end,
)
from runner.lifecycle.disk.usage import Usage
from runner.model import Bytes

GB = 10**9
#: What others and the run itself write in each second, and what somebody gives back.
seconds = st.tuples(
    st.integers(0, 3 * GB), st.integers(0, 3 * GB), st.integers(0, GB // 10), st.floats(0, 2)
)


@given(st.lists(seconds, min_size=1, max_size=200), st.integers(GB, 50 * GB))
def test_who_crosses_its_bound_is_found_and_looks_cost_their_share(
    story: list[tuple[int, int, int, float]], bound: int
) -> None:
    """Soon: within the patience at the latest, unless somebody gave back what hid it."""
    account, allowance = Account(Bytes(bound)), Allowance()
    own, free, spent, over_since, given_back = 0, 1 << 50, 0.0, None, False
    for now, (theirs, mine, back, cost) in enumerate(story):
        before = Free(free, 0)
        own, free = own + mine, free - theirs - mine + back
        given_back = given_back or back > 0
        account.eaten += Free(free, 0).eaten_since(before)
        allowance.pass_by(1.0)
        if over_since is None and own > bound + INODE:
            over_since = now
        if is_due(account, now, allowance):
            account.eaten = 0
            allowance.spend(cost)
            spent += cost
            account.seen(Usage(Bytes(own), 0, (), cost), now)
            if account.is_over:
                assert over_since is not None
                return
        if over_since is not None and not given_back:
            known = account.usage or Usage()
            assert now - over_since <= patience(known) + 1
    # What was saved up, what the time brought, and the last look, which nobody knew before.
    assert spent <= SAVED + 2 * SHARE * len(story) + 2


@given(st.integers(1, 100 * GB), st.integers(0, 200 * GB), st.integers(0, 10**7))
def test_small_files_are_allowed_for_up_to_twice_the_bound(
    bound: int, size: int, entries: int
) -> None:
    """What archives hold by their contents takes more in blocks; but not without end."""
    account = Account(Bytes(bound))
    account.seen(Usage(size, entries), 0.0)
    if account.is_over:
        assert size + entries * INODE > bound
        assert account.margin == 0
    else:
        assert size + entries * INODE <= 2 * bound
    if size <= bound and entries * INODE <= bound:
        assert not account.is_over


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(-100, 100)), max_size=8),
    st.integers(-10, 300),
)
def test_who_is_ended_for_the_floor_holds_most_beyond_what_it_asked_for(
    excess: list[tuple[int, int]], missing: int
) -> None:
    """Nobody is, where that brings nothing back, and never one within what it asked for."""
    chosen = to_end(excess, missing)
    above = [size for _, size in excess if size > 0]
    if missing <= 0 or sum(above) < missing:
        assert chosen is None
    else:
        assert chosen is not None
        assert (chosen, max(above)) in excess


def test_a_disk_on_which_nothing_happens_costs_next_to_nothing() -> None:
    """One look at the beginning, then one in ten minutes, for who might hide behind others."""
    account, allowance, looks = Account(Bytes(GB)), Allowance(), 0
    for now in range(3600):
        allowance.pass_by(1.0)
        if is_due(account, now, allowance):
            looks += 1
            account.seen(Usage(0, 100_000, (), 0.4), now)
            allowance.spend(0.4)
    assert looks <= 7


def test_inodes_are_eaten_like_bytes() -> None:
    """A million empty files keep others from making any."""
    assert Free(10, 5).eaten_since(Free(10, 1005)) == 1000 * INODE
    assert Free(20, 2000).eaten_since(Free(10, 1005)) == 0


def test_the_most_urgent_is_who_is_not_known_then_who_may_be_over_by_most() -> None:
    """And nobody, of nobody."""
    fresh, near, far = (Account(Bytes(GB)) for _ in range(3))
    near.seen(Usage(GB - 5), 0.0)
    far.seen(Usage(0), 0.0)
    near.eaten = far.eaten = 100
    assert most_urgent([("far", far), ("near", near)]) == "near"
    assert most_urgent([("near", near), ("fresh", fresh)]) == "fresh"
    assert most_urgent([]) is None


def test_the_sentence_tells_the_two_numbers_apart() -> None:
    """With three digits, with what is attached, and with the files where they are the reason."""
    account = Account(Bytes(10 * GB), attached=Bytes(2 * GB))
    account.seen(Usage(10_320_000_000, 3), 0.0)
    assert sentence(account, Bytes(10 * GB)) == "its workspace holds 12.3 GB, it asked for 10 GB"
    nothing = "its workspace holds 12.3 GB, and who asks for no disk may use 10 GB"
    assert sentence(account, Bytes(0)) == nothing
    account.seen(Usage(0, 5_000_000), 0.0)
    many = "its workspace holds 2 GB in 5000000 files, it asked for 10 GB"
    assert sentence(account, Bytes(10 * GB)) == many


def test_names_draw_no_lines_of_their_own() -> None:
    """They are the experiment's, and are shown to people."""
    usage = Usage(0, 0, (("a\nb\x1b[31m\udcff", 5 * GB), ("y" * 500, GB)))
    said = named(usage)
    assert said.startswith("a\\nb\\x1b[31m\\udcff (5.0 GB), yyy")
    assert len(said) < 200
