"""The pure decisions of the room: eviction, the next attempt, failures, scripts, dry runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.environments import layering, scripts
from runner.environments.cache import Entry, victims
from runner.environments.failures import explain, last_lines
from runner.environments.requirements import parse
from runner.environments.resolve import Attempt
from runner.environments.sources import Sources, network_variables, redact
from runner.errors import HostFault, OutOfDisk, RequirementsFailed, Unavailable
from runner.model import Bytes

ENTRIES = st.lists(
    st.builds(
        Entry,
        key=st.text("abcdef", min_size=1, max_size=4),
        bytes=st.integers(0, 100).map(Bytes),
        used=st.floats(0, 100),
    ),
    unique_by=lambda entry: entry.key,
)


@given(ENTRIES, st.integers(0, 300).map(Bytes), st.data())
def test_eviction_takes_the_oldest_and_no_more_than_needed(
    entries: list[Entry], limit: Bytes, data: st.DataObject
) -> None:
    """What is held stays; the rest fits, or only held ones are left; none goes for nothing."""
    keys = [entry.key for entry in entries]
    held = frozenset(data.draw(st.sets(st.sampled_from(keys)))) if keys else frozenset[str]()
    going = victims(entries, limit, held)
    left = [entry for entry in entries if entry not in going]
    assert not {entry.key for entry in going} & held
    rest = sum(entry.bytes for entry in left)
    assert rest <= limit or {entry.key for entry in left} <= held
    if going:
        assert rest + going[-1].bytes > limit
        assert all(entry.used >= going[-1].used for entry in left if entry.key not in held)


NO_WHEEL = "Because foo==1 has no usable wheels and you require foo==1 … are unsatisfiable."
CONFLICT = "Because a depends on b<2 and you require b==2 … are unsatisfiable."
MISSING = "Because foo was not found in the package registry … are unsatisfiable."
SILENT = "error: Failed to fetch\n cause: dns error"


def test_wheels_are_tried_before_code_is_run() -> None:
    """Only when no wheel fits may packages be built."""
    following = Attempt(parse(["foo==1"])).after(NO_WHEEL)
    assert following is not None
    assert (following.builds, following.overrides) == (True, False)
    assert following.after("the build failed") is None


def test_pins_that_conflict_are_overridden_only_where_all_is_pinned() -> None:
    """A frozen list worked somewhere; a wish that cannot be met is not a frozen list."""
    pinned = Attempt(parse(["a==1", "b==2"])).after(CONFLICT)
    assert pinned is not None
    assert pinned.overrides
    loose = Attempt(parse(["a", "b==2"])).after(CONFLICT)
    assert loose is not None
    assert not loose.overrides


@pytest.mark.parametrize("text", [MISSING, SILENT])
def test_what_cannot_help_is_not_tried(text: str) -> None:
    """Neither a package that does not exist nor a silent index gets better by building."""
    assert Attempt(parse(["foo==1"])).after(text) is None


def test_companions_and_the_index_of_pytorch_are_given_up_first() -> None:
    """They are our idea, not the sender's."""
    text = "Failed to fetch: https://index/simple/setuptools/ dns error"
    alone = Attempt(parse(["foo"]), ("setuptools",)).after(text)
    assert alone == Attempt(parse(["foo"]))
    text = "Failed to fetch: https://download.pytorch.org/whl/cpu/torch/ dns error"
    plain = Attempt(parse(["torch"]), torch="auto").after(text)
    assert plain == Attempt(parse(["torch"]))
    assert Attempt(parse(["torch==2+cu118"]), torch="cu118").after(text) is None


@given(st.sampled_from(["a==1", "a"]), st.text(max_size=30))
def test_attempts_come_to_an_end(line: str, text: str) -> None:
    """Whatever the installer says, there are a handful of attempts at most."""
    attempt: Attempt | None = Attempt(parse([line]), ("pip",), "auto")
    for _ in range(7):
        if attempt is None:
            break
        attempt = attempt.after(f"{CONFLICT} {text} /pip download.pytorch.org")
    assert attempt is None


def test_a_failure_is_told_from_a_silent_index_and_a_full_disk() -> None:
    """Whose fault it is decides what happens to the experiment."""
    assert isinstance(explain(MISSING), RequirementsFailed)
    assert isinstance(explain(SILENT), Unavailable)
    assert isinstance(explain("No space left on device (os error 28)"), OutOfDisk)
    panic = "thread 'main2' panicked: failed to spawn: Resource temporarily unavailable"
    assert isinstance(explain(panic), HostFault)
    assert isinstance(explain("Failed to inspect: Too many open files (os error 24)"), HostFault)
    theirs = explain(f"https://typo.example {SILENT}", ["git+https://typo.example/x"])
    assert isinstance(theirs, RequirementsFailed)


@given(st.lists(st.text(max_size=1000), max_size=100))
def test_what_is_shown_is_bounded(lines: list[str]) -> None:
    """However much an installer prints."""
    assert len(last_lines("\n".join(lines)).split("\n")) <= 40


def test_passwords_in_addresses_are_hidden() -> None:
    """Wherever they stand in a text."""
    text = "from https://joe:pass@host/x and git+ssh://git@host"
    assert redact(text) == "from https://***@host/x and git+ssh://***@host"


def test_a_new_password_is_no_new_environment() -> None:
    """The fingerprint of the indexes has none in it."""
    one, other = Sources("https://a:1@host/simple"), Sources("https://a:2@host/simple")
    assert one.fingerprint() == other.fingerprint()
    assert one.fingerprint() != Sources("https://else/simple").fingerprint()


def test_only_network_variables_reach_a_build() -> None:
    """Not the daemon's credentials."""
    environ = {
        "HTTPS_PROXY": "http://p",
        "no_proxy": "x",
        "AWS_SECRET_ACCESS_KEY": "s",
        "PATH": "/",
    }
    assert network_variables(environ) == {"HTTPS_PROXY": "http://p", "no_proxy": "x"}


@pytest.mark.parametrize(
    "text",
    [
        b"#!/envs/bin/python\nprint(1)\n",
        b"#!/envs/bin/python3.11 -s\nprint(1)\n",
        b"#!/bin/sh\n'''exec' \"/envs/bin/python\" \"$0\" \"$@\"\n' '''\nprint(1)\n",
    ],
)
def test_a_script_is_written_anew_for_another_interpreter(text: bytes, tmp_path: Path) -> None:
    """In whichever way it named the old one, and it runs, also from a path with blanks."""
    assert scripts.names_interpreter(text, "/envs/bin/")
    short = scripts.with_interpreter(text, "/run/bin/python")
    assert short == b"#!/run/bin/python\nprint(1)\n"
    folder = tmp_path / "it's a long name" / ("x" * 120)
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(sys.executable)
    script = tmp_path / "script"
    script.write_bytes(scripts.with_interpreter(text, str(folder / "python")))
    script.chmod(0o755)
    assert subprocess.run([script], capture_output=True, check=True).stdout == b"1\n"


@pytest.mark.parametrize("text", [b"#!/bin/sh\necho\n", b"#!/usr/bin/python\n", b"\x7fELF", b""])
def test_other_programs_are_left_alone(text: bytes) -> None:
    """They are linked as they are."""
    assert not scripts.names_interpreter(text, "/envs/bin/")


def test_a_dry_run_tells_what_would_be_added() -> None:
    """Removed versions and other lines are passed over."""
    text = "Would install 2 packages\n - a==1\n + a==2\n + b==1 (from git+https://host/b@abc)\n"
    assert layering.added(text) == ["a==2", "b @ git+https://host/b@abc"]
