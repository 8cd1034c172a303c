"""Grids: what is written, what it means, and what is refused."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.client import grid
from runner.errors import Misconfigured

_names = st.from_regex(r"[a-z][a-z0-9_]{0,4}", fullmatch=True)
_values = st.lists(
    st.text("ab 01.\"',", min_size=1, max_size=4), min_size=1, max_size=4, unique=True
)


@given(st.dictionaries(_names, _values, max_size=3))
def test_every_combination_is_there_once(found: dict[str, list[str]]) -> None:
    """As many points as the sizes' product, all different, each with a value of every name."""
    points = list(grid.points(grid.checked(found)))
    assert len(points) == math.prod(map(len, found.values()))
    assert len({tuple(point.items()) for point in points}) == len(points)
    assert all(point[name] in found[name] for point in points for name in found)


@given(st.lists(st.text(max_size=8), max_size=4), st.dictionaries(_names, st.text(max_size=4)))
def test_every_parameter_reaches_the_script(args: list[str], point: dict[str, str]) -> None:
    """In the place of its name, or behind the arguments; those without braces stay as they are."""
    found = grid.arguments(args, point)
    for before, after in zip(args, found, strict=False):
        assert "{" in before or before == after
    for name, value in point.items():
        is_named = any(f"{{{name}}}" in arg for arg in args)
        behind = found[len(args) :]
        pairs = [*pairwise(behind), *(tuple(word.split("=", 1)) for word in behind)]
        assert is_named != ((f"--{name}", value) in pairs)


def test_a_comma_may_be_quoted() -> None:
    """As in a line of CSV; blanks behind a comma are no part of a value."""
    assert grid.grid_of(['a=1, "2, 3"']) == {"a": ["1", "2, 3"]}
    assert grid.grid_of(['lr=0.1,"1,2",3', "b=x"]) == {"lr": ["0.1", "1,2", "3"], "b": ["x"]}


def test_a_value_is_not_read_again() -> None:
    """What a value has in braces is a text, and names nothing."""
    point = {"a": "{b}", "b": "{a}"}
    assert grid.arguments(["{a}", "{c}", "{}"], point) == ("{b}", "{c}", "{}", "--b", "{a}")


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["lr"], "give NAME=VALUE"),
        (["lr="], "empty value for lr"),
        (["lr=1,,2"], "empty value for lr"),
        (["=1"], "a parameter ''"),
        (["a b=1"], "a parameter 'a b'"),
        (["lr=1,1"], "a value of lr twice"),
        (["lr=1", "lr=2"], "--grid lr is given twice"),
        (['lr="1,2'], "no list of values: unexpected end"),
        (["lr=1\n2,3"], "no list of values: new-line"),
    ],
)
def test_what_means_nothing_is_refused(texts: list[str], says: str) -> None:
    """With the text or the name that is meant."""
    with pytest.raises(Misconfigured, match=says):
        grid.grid_of(texts)


def test_an_absurd_product_is_never_made() -> None:
    """The sentence has the sizes; nothing is counted out first."""
    large = {name: [str(number) for number in range(1000)] for name in "abcdef"}
    with pytest.raises(Misconfigured, match=r"1000000000000000000 points .a 1000 x .*--grid-limit"):
        grid.points(large)


def test_keys_sort_as_they_were_made() -> None:
    """Ten of them and more, too."""
    assert list(grid.keys("k", 11)) == sorted(grid.keys("k", 11))


def test_keys_have_the_number_that_they_were_given() -> None:
    """Which is how a sweep finds out where to go on."""
    assert grid.keys("a.b", 3, 9) == ["a.b-9", "a.b-10", "a.b-11"]
    assert [grid.number("a.b", key) for key in grid.keys("a.b", 12)] == list(range(1, 13))
    others = ("a.b", "a.b-", "axb-1", "a.b-1-2", "a.b-x", f"a.b-{10**20}")
    assert [grid.number("a.b", key) for key in others] == [0] * len(others)


def test_a_value_that_begins_like_an_option_is_one_word_with_its_name() -> None:
    """Python's argparse takes -1e-5 for an option otherwise."""
    assert grid.arguments([], {"lr": "-1e-5", "n": "3"}) == ("--lr=-1e-5", "--n", "3")


def test_a_sweep_has_a_largest_size() -> None:
    """Its listing is one object; nobody finds out afterwards that half of it is not there."""
    with pytest.raises(Misconfigured, match="--grid-limit is 20000: a sweep has 10000"):
        grid.points({"a": ["1"]}, 20_000)


def test_one_text_is_no_list_of_values() -> None:
    """Its letters would be."""
    with pytest.raises(Misconfigured, match="for lr: give a list"):
        grid.checked({"lr": "0.1"})
