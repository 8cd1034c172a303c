"""Values that are none stop the start with one sentence."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from runner.errors import Misconfigured
from runner.settings import OPTIONS, Settings
from runner.settings.users import RunAs, read


@pytest.mark.parametrize(
    ("argv", "environ", "words"),
    [
        (["--max-cores", "abc"], {}, ["--max-cores", "'abc'", "command line", "whole number"]),
        ([], {"MAX_MEM": "12xb"}, ["--max-mem", "'12xb'", "variable MAX_MEM", "16gib"]),
        ([], {"STUDIO_RUNNER_LEASE": "10"}, ["--lease", "STUDIO_RUNNER_LEASE", "duration"]),
        (["--grace-period=-1m"], {}, ["--grace-period", "'-1m'", "1h30m"]),
        ([], {"DEBUG": "perhaps"}, ["--debug", "'perhaps'", "true or false"]),
        (["--queue-match", "("], {}, ["--queue-match", "regular expression"]),
        (["--retry-on", "exit,boredom"], {}, ["--retry-on", "'boredom'", "time-limit"]),
        (["--run-as", "no-such-user"], {}, ["--run-as", "no-such-user", "UID:GID"]),
        (["--run-as", "80000-99999:1"], {}, ["--run-as", "80000-99999:1", "at most 1000"]),
        (["--image-time", "0"], {}, ["--image-time", "'0'", "at least 1s"]),
        (["--max-duration-cap", "0s"], {}, ["--max-duration-cap", "'0s'", "at least 1s"]),
        (["--max-attempts", "0"], {}, ["--max-attempts", "at least 1"]),
        (["--min-free-disk", "120%"], {}, ["--min-free-disk", "5%,5gib"]),
        (["--state-dir", ""], {}, ["--state-dir", "a path"]),
        (["--expose-env", "A-B"], {}, ["--expose-env", "'A-B'", "environment variable"]),
        (["--max-cors", "1"], {}, ["unknown option --max-cors", "did you mean --max-cores?"]),
        (["--xyzzyxyzzy"], {}, ["unknown option --xyzzyxyzzy"]),
        (["train.py"], {}, ["unexpected argument 'train.py'"]),
        (["--max-cores"], {}, ["--max-cores", "expected one argument"]),
        (["--config", "/no/such.yaml"], {}, ["/no/such.yaml", "No such file"]),
    ],
)
def test_a_value_that_is_none_stops_the_start(
    argv: list[str], environ: dict[str, str], words: list[str]
) -> None:
    """The sentence names the option, the value, where it came from, and what is accepted."""
    with pytest.raises(Misconfigured) as caught:
        Settings.load(argv, environ)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max-crores: 4", ["unknown key max-crores", "did you mean max-cores?"]),
        ("max-cores: four", ["--max-cores", "'four'", "key max-cores"]),
        ("- max-cores", ["no YAML mapping"]),
        ("max-cores: [", ["no YAML mapping"]),
        ("max-cores: [1, 2]", ["max-cores", "list"]),
    ],
)
def test_a_bad_file_stops_the_start(tmp_path: Path, text: str, words: list[str]) -> None:
    """The sentence names the file and the key."""
    path = tmp_path / "runner.yaml"
    path.write_text(text)
    with pytest.raises(Misconfigured) as caught:
        Settings.load(["--config", str(path)], {})
    for word in words:
        assert word in str(caught.value)


def test_a_secret_that_does_not_parse_is_not_shown() -> None:
    """No error repeats the value of a secret."""
    assert all(option.file_form for option in OPTIONS.values() if option.secret)


def test_a_user_is_resolved() -> None:
    """``--run-as`` takes names and numbers, and numbers that no user has."""
    (root,) = Settings.load(["--run-as", "root"], {}).run_as
    assert (root.name, root.uid, root.gid) == ("root", 0, 0)
    (nobody,) = Settings.load(["--run-as", "54321:54322"], {}).run_as
    assert (nobody.uid, nobody.gid) == (54321, 54322)
    assert Settings.load([], {}).run_as == ()
    assert Settings.load([], {"RUN_AS": ""}).run_as == ()


@pytest.mark.parametrize(
    "words",
    [
        ["61001-61003:61000"],
        ["61001:61000,61002:61000,61003:61000"],
        ["61001:61000", "61002-61003:61000"],
    ],
)
def test_users_are_listed_repeated_or_a_range(words: list[str]) -> None:
    """As operators of batch systems write them."""
    argv = [part for word in words for part in ("--run-as", word)]
    pool = Settings.load(argv, {}).run_as
    assert [(user.uid, user.gid) for user in pool] == [(61000 + n, 61000) for n in (1, 2, 3)]


def test_a_range_of_names_is_looked_up_one_by_one() -> None:
    """Of accounts that an image has: the shell's way to write many names."""
    there = [entry.pw_name for entry in pwd.getpwall() if entry.pw_name.endswith("s")]
    pool = Settings.load(["--run-as", ",".join(there)], {}).run_as
    assert [user.name for user in pool] == there
    assert read("[1-3]:7") == tuple(RunAs(user.name, user.uid, 7) for user in read("1-3:7"))


@pytest.mark.parametrize("word", ["x-[1-3]", "3-1:0", "0-99999:0", "x-[1-2", "61001", "[1-2][1-2]"])
def test_what_is_no_user_and_no_range_is_refused(word: str) -> None:
    """By the option's name and what it takes; a slip of the hand makes no thousands of users."""
    with pytest.raises(Misconfigured, match=r"--run-as is .*NAME-\[1-8\]"):
        Settings.load(["--run-as", word], {})


def test_the_disk_floor_is_the_smaller_part() -> None:
    """5 % of a small disk, 5 GiB of a large one."""
    floor = Settings.load([], {}).min_free_disk
    assert floor.of(20 * 2**30) == 2**30  # type: ignore[arg-type]  # plain numbers read better
    assert floor.of(2**50) == 5 * 2**30  # type: ignore[arg-type]  # likewise
