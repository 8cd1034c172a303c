"""Requirement lines are read, refused or made canonical."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.environments.requirements import parse
from runner.errors import BadField

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,8}[A-Za-z0-9]", fullmatch=True)
PINS = st.builds("{}=={}".format, NAMES, st.sampled_from(["1", "2.0", "3.1.4"]))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("Foo_Bar == 1.0", "foo-bar==1.0"),
        ("foo[b,a]>=1,<2", "foo[a,b]<2,>=1"),
        ("foo==1.0  # pinned because of bar", "foo==1.0"),
        ("torch==2.1.0+cu118", "torch==2.1.0+cu118"),
        ("foo; python_version < '3'", 'foo; python_version < "3"'),
        ("foo @ https://host/foo-1-py3-none-any.whl", "foo @ https://host/foo-1-py3-none-any.whl"),
        ("git+https://host/a@v1#egg=Foo_x", "foo-x @ git+https://host/a@v1"),
        (
            "-e git+https://host/a@v1#egg=foo&subdirectory=sub",
            "foo @ git+https://host/a@v1#subdirectory=sub",
        ),
        ("-e /home/me/project", "-e /home/me/project"),
        ("--editable=file:///home/me/project", "-e /home/me/project"),
        ("https://host/foo-1.tar.gz", "https://host/foo-1.tar.gz"),
        ("/work/dist/studioml-0.0.49.tar.gz", "/work/dist/studioml-0.0.49.tar.gz"),
    ],
)
def test_a_line_is_made_canonical(text: str, canonical: str) -> None:
    """Equal wishes become equal lines."""
    assert parse([text]).texts == (canonical,)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("--index-url http://x", "--index-url is an option"),
        ("-r /etc/passwd", "-r is an option"),
        ("-e relative/path", "after -e comes"),
        ("foo\n--index-url=http://x", "one line"),
        ("foo\0", "one line"),
        ("foo @ https://x/${TOKEN}/foo.whl", "not expanded"),
        ("foo @ ssh://x/foo", "an address begins with"),
        ("./foo", "a path must be absolute"),
        ("foo; rm -rf /", "no requirement"),
        ("$(reboot)", "no requirement"),
        ("x" * 5000, "at most"),
    ],
)
def test_a_line_that_is_no_requirement_is_refused(text: str, why: str) -> None:
    """The error shows the line and what is wrong with it."""
    with pytest.raises(BadField, match=why):
        parse([text])


def test_comments_and_repetitions_are_dropped() -> None:
    """As in the output of ``pip freeze``."""
    found = parse(["# Editable install with no version control", "", "foo==1", "Foo==1"])
    assert found.texts == ("foo==1",)


def test_of_two_pins_the_later_holds() -> None:
    """``config.pip`` follows ``pythonenv``."""
    assert parse(["foo==1", "bar==1", "foo==2"]).texts == ("bar==1", "foo==2")


def test_what_runs_code_is_known_beforehand() -> None:
    """Sources do, wheels and names do not."""
    assert parse(["git+https://host/a"]).runs_code
    assert parse(["-e /a"]).runs_code
    assert parse(["https://host/a-1.tar.gz"]).runs_code
    assert not parse(["a", "https://host/a-1-py3-none-any.whl#sha256=0"]).runs_code


def test_a_branch_is_no_pin() -> None:
    """A commit is one."""
    assert not parse(["git+https://host/a@main#egg=a"]).pinned
    assert parse([f"git+https://host/a@{'0' * 40}#egg=a", "b==1"]).pinned
    assert not parse(["b==1.*"]).pinned


@pytest.mark.parametrize(
    ("lines", "backend"),
    [
        (["numpy"], ""),
        (["torch"], "auto"),
        (["torch==2.1.0+cu118"], "cu118"),
        (["torchvision==0.16.0+cpu", "torch"], "cpu"),
    ],
)
def test_the_index_of_pytorch_follows_from_the_version(lines: list[str], backend: str) -> None:
    """A version that names its accelerator is found in that accelerator's index alone."""
    assert parse(lines).torch_backend("auto") == backend


@given(st.lists(st.one_of(PINS, NAMES)))
def test_reading_what_was_written_changes_nothing(lines: list[str]) -> None:
    """The canonical form is a fixed point."""
    once = parse(lines)
    assert parse(once.texts) == once


@given(st.lists(st.text(max_size=60), max_size=5))
def test_whatever_comes_no_option_and_no_second_line_gets_through(lines: list[str]) -> None:
    """Arbitrary text is refused or becomes single lines, none of which is an option."""
    try:
        found = parse(lines)
    except BadField:
        return
    for text in found.texts:
        assert len(text.splitlines()) == 1
        assert not text.startswith("-") or text.startswith("-e /")
