"""Free cards go to who is ready, in turn; who has waited for long is passed by nobody."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.claiming.staging import Admission, Cards, Preparing, Table, admit, deal, grant
from runner.lifecycle.gpus.choice import choose_gpus, take_gpus
from runner.model import Bytes, Gpu, Needs

GB = 10**9


def card(name: str, memory: int = 24) -> Gpu:
    """Return a card with so many gigabytes."""
    return Gpu(name, f"card of {memory}", Bytes(memory * GB), 8)


def asked(count: int = 1, memory: int = 0) -> Needs:
    """Return needs of so many cards with so many gigabytes."""
    return Needs(gpu_count=count, gpu_memory=Bytes(memory * GB))


def table(free: Cards, busy: Cards = (), *, lasting: Cards = ()) -> Table:
    """Return cards of which the ``busy`` ones are expected back soon, and the others are not."""
    return Table(free, (*free, *busy), (*free, *busy, *lasting))


A, B, C, BIG = card("a"), card("b"), card("c"), card("big", 80)

gpus = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6).map(
    lambda names: tuple(card(name, 24 if name < "f" else 80) for name in names)
)
needs = st.builds(asked, st.integers(1, 3), st.sampled_from([0, 40]))
lines = st.lists(st.tuples(needs, st.booleans(), st.booleans(), st.booleans()), max_size=5).map(
    lambda found: [Preparing(number, *one) for number, one in enumerate(found)]
)
tables = st.tuples(gpus, st.integers(0, 6), st.integers(0, 6)).map(
    lambda found: Table(found[0][: min(found[1:])], found[0][: max(found[1:])], found[0])
)


def test_what_fits_beside_all_that_prepare_is_not_staged() -> None:
    """Two free cards are enough for one that prepares and one more."""
    assert admit(asked(), [Preparing(1, asked())], table((A, B)), 1) is Admission.NOW


def test_one_is_staged_for_a_busy_card_and_no_more() -> None:
    """The second one beyond what is free has to wait with its message."""
    cards = table((), (A,))
    assert admit(asked(), [], cards, 1) is Admission.STAGED
    assert admit(asked(), [Preparing(1, asked())], cards, 1) is Admission.NO
    assert admit(asked(), [Preparing(1, asked())], cards, 2) is Admission.STAGED


def test_nothing_is_staged_for_cards_that_are_not_expected_soon() -> None:
    """It would be fetched and built, and given back."""
    assert admit(asked(), [], table((), lasting=(A,)), 1) is Admission.NO


def test_one_that_will_have_the_card_for_long_counts_as_its_holder() -> None:
    """Behind it no card is expected, however soon the present run ends."""
    long = Preparing(1, asked(), is_long=True)
    assert admit(asked(), [long], table((), (A,)), 2) is Admission.NO
    assert admit(asked(), [long], table((), (A, B)), 2) is Admission.STAGED


def test_what_the_machine_never_has_is_not_staged() -> None:
    """Four cards of two are never free."""
    assert admit(asked(4), [], table((A,), (B,)), 1) is Admission.NO


def test_who_is_ready_first_takes_the_card() -> None:
    """It does not wait for the download of who was claimed before."""
    line = [Preparing(1, asked()), Preparing(2, asked(), is_ready=True)]
    found = grant(line, table((A,)))
    assert found is not None
    assert found.to.number == 2


def test_of_two_that_are_ready_the_first_claimed_is_first() -> None:
    """The order in which they became ready decides nothing."""
    line = [Preparing(2, asked(), is_ready=True), Preparing(1, asked(), is_ready=True)]
    found = grant(line, table((A,)))
    assert found is not None
    assert found.to.number == 1


def test_nobody_passes_one_that_has_waited_for_long() -> None:
    """Single cards are kept for who needs two, until the second is there."""
    pair = Preparing(2, asked(2), is_ready=True, is_owed=True)
    single = Preparing(1, asked(), is_ready=True)
    assert grant([single, pair], table((A,), (B,))) is None
    assert admit(asked(), [pair], table((A,), (B,)), 1) is Admission.NO
    found = grant([single, pair], table((A, B)))
    assert found is not None
    assert found.to is pair


def test_cards_that_are_of_no_use_to_it_are_not_kept() -> None:
    """Whoever waits for the large card does not keep small ones idle."""
    large = Preparing(1, asked(memory=40), is_ready=True, is_owed=True)
    small = Preparing(2, asked(), is_ready=True)
    found = grant([large, small], table((A,), (BIG,)))
    assert found is not None
    assert found.to is small
    assert found.among == (A,)


def test_nothing_is_kept_for_who_needs_cards_that_are_withheld() -> None:
    """A machine with one good card of two goes on with singles."""
    pair = Preparing(1, asked(2), is_ready=True, is_owed=True)
    single = Preparing(2, asked(), is_ready=True)
    found = grant([pair, single], Table((A,), (A,), (A,)))
    assert found is not None
    assert found.to is single


def test_a_card_is_kept_for_one_that_was_ready_once_and_fetches_again() -> None:
    """It had to go back, and is not passed a second time."""
    again = Preparing(1, asked(), is_owed=True)
    line = [again, Preparing(2, asked(), is_ready=True)]
    assert grant(line, table((A,), (B,))) is None
    found = grant(line, table((A, B)))
    assert found is not None
    assert found.to.number == 2
    assert found.among == (B,)


def test_experiments_of_a_group_wait_for_no_card_of_their_own() -> None:
    """What is left of a shared card serves the next of the group."""
    shared = Needs(gpu_count=1, gpu_slots=2, gpu_memory=Bytes(8 * GB), gpu_group="g")
    line = [Preparing(1, shared, is_ready=True), Preparing(2, shared, is_ready=True)]
    assert deal(line, (A,), table((A,))).unserved == ()
    assert admit(shared, line, table((A,)), 0) is Admission.NOW
    alone = Preparing(3, asked(), is_ready=True, is_owed=True)
    partly = take_gpus(shared, (A,))
    assert partly is not None
    assert grant([alone, *line], Table(partly, (A,), (A,))) is None


@given(lines, tables)
def test_a_grant_can_be_kept(line: list[Preparing], cards: Table) -> None:
    """Who gets cards is ready, and they are among what is free."""
    found = grant(line, cards)
    if found is not None:
        assert found.to.is_ready
        assert set(found.among) <= set(cards.free)
        assert choose_gpus(found.to.needs, found.among) is not None


@given(lines, tables)
def test_no_card_is_idle_that_suffices_for_one_that_is_ready(
    line: list[Preparing], cards: Table
) -> None:
    """Unless it is kept for one that has waited for long."""
    if grant(line, cards) is None and not any(one.is_owed for one in line):
        assert not any(
            one.is_ready and choose_gpus(one.needs, cards.free) is not None for one in line
        )


@given(lines, tables)
def test_the_longest_waiting_one_is_served_as_soon_as_its_cards_are_there(
    line: list[Preparing], cards: Table
) -> None:
    """Whoever else is ready."""
    owed = sorted((one for one in line if one.is_owed), key=lambda one: one.number)
    if owed and owed[0].is_ready and choose_gpus(owed[0].needs, cards.free) is not None:
        found = grant(line, cards)
        assert found is not None
        assert found.to is owed[0]


@given(lines, tables)
def test_cards_that_are_kept_add_up(line: list[Preparing], cards: Table) -> None:
    """No grant takes a card that the first one in debt could use, while it lacks others."""
    owed = sorted((one for one in line if one.is_owed), key=lambda one: one.number)
    found = grant(line, cards)
    if not owed or found is None or found.to is owed[0]:
        return
    first = owed[0]
    if choose_gpus(first.needs, cards.reach) is None:
        return
    rest = take_gpus(found.to.needs, found.among)
    taken = {one.uuid for one in found.among} - {one.uuid for one in rest or ()}
    left = tuple(one for one in cards.free if one.uuid not in taken)
    if choose_gpus(first.needs, cards.free) is not None:
        assert choose_gpus(first.needs, left) is not None
    else:
        use = [one for one in cards.free if choose_gpus(_single(first.needs), (one,)) is not None]
        assert not taken & {one.uuid for one in use}


@given(needs, lines, tables, st.integers(0, 3))
def test_no_more_than_allowed_wait_for_busy_cards(
    wanted: Needs, line: list[Preparing], cards: Table, staged: int
) -> None:
    """Nobody is admitted beyond, and who is admitted at once leaves the others what they had."""
    said = admit(wanted, line, cards, staged)
    before = len(deal(line, cards.free, cards).unserved)
    if said is Admission.STAGED:
        assert before < staged
        assert choose_gpus(wanted, cards.soon) is not None
    if said is Admission.NOW:
        new = Preparing(100, wanted)
        assert len(deal([*line, new], cards.free, cards).unserved) == before


@given(lines.flatmap(lambda line: st.tuples(st.just(line), st.permutations(line))), tables)
def test_the_answer_is_the_same_in_any_order(
    found: tuple[list[Preparing], list[Preparing]], cards: Table
) -> None:
    """Only numbers and conditions decide."""
    line, other = found
    assert grant(line, cards) == grant(other, cards)
    assert deal(line, cards.free, cards) == deal(other, cards.free, cards)


def _single(of: Needs) -> Needs:
    return Needs(gpu_count=1, gpu_memory=of.gpu_memory)
