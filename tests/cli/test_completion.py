"""``studio-runner completion`` in real shells, and ``studio-runner man`` before its readers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runner.cli import COMMANDS
from runner.cli.man import page
from runner.cli.parsers import actions, every_parser
from runner.lifecycle.history import Ending, History
from tests.cli.conftest import Desk
from tests.cli.test_weight import _SDKS
from tests.cli.top.window import Window

_BASH = r"""
source ./script
studio-runner() { echo key_one; echo key_two; }
for words in "$@"; do
    COMP_WORDS=($words); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE=$words
    COMP_POINT=${#words}; COMPREPLY=()
    function=$(complete -p studio-runner | sed 's/.*-F \([^ ]*\) .*/\1/')
    $function
    echo "$words: ${COMPREPLY[*]}"
done
"""
#: A line that is begun, and what it may go on with.
_LINES = (
    ("studio-runner to", "top"),
    ("studio-runner logs --fol", "--follow"),
    ("studio-runner logs key_", "key_one key_two"),
    ("studio-runner cache ver", "verify"),
    ("studio-runner run --max-co", "--max-cores"),
    ("studio-runner run --config /pro", "/proc"),
)


def _shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} on this machine")
    return found


def _script(desk: Desk, shell: str) -> Path:
    status, out, _ = desk.run("completion", shell)
    assert status == 0
    file = desk.root / "script"
    file.write_text(out)
    return file


def test_bash_completes(desk: Desk) -> None:
    """Commands, options, words that an option takes, keys and files."""
    bash, script = _shell("bash"), _script(desk, "bash")
    done = subprocess.run(
        [bash, "--norc", "-c", _BASH, "bash", *(begun for begun, _ in _LINES)],
        cwd=script.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [f"{begun}: {rest}" for begun, rest in _LINES]
    assert done.stderr == ""


def test_fish_completes(desk: Desk) -> None:
    """The same in fish, with what each means."""
    fish, script = _shell("fish"), _script(desk, "fish")
    asked = "; ".join(f"complete -C '{begun}'" for begun, _ in _LINES[:2])
    done = subprocess.run(
        [fish, "--no-config", "-c", f"source {script}; {asked}"],
        env={"HOME": str(desk.root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["top", "--follow"]
    assert COMMANDS["top"] in done.stdout


def test_zsh_completes(desk: Desk) -> None:
    """The same in zsh, by the key."""
    zsh, script = _shell("zsh"), _script(desk, "zsh")
    environ = {"HOME": str(desk.root), "PATH": "/usr/bin:/bin", "PS1": "shell> "}
    with Window([zsh, "-f", "-i"], environ) as window:
        window.shows("shell>")
        window.press(
            f'autoload -Uz compinit; compinit -D -u; eval "$(cat {script})"; echo be""gun\n'
        )
        window.shows("begun")
        window.press("studio-runner to\t")
        window.shows("studio-runner top")
        window.press("--onc\t")
        window.shows("studio-runner top --once")


def test_keys_are_those_of_this_machine(desk: Desk) -> None:
    """The latest first, each once, and none that a shell would take for something else."""
    history = History(desk.root / "state" / "recent.jsonl")
    (desk.root / "state").mkdir(exist_ok=True)
    for key in ("a", "b c", "\x1b[2J", "d", "a"):
        history.add(Ending(key, "q", "", 1, "exit", 3, "", "acked", 5.0, 2.0))
    assert desk.run("completion", "--keys")[1].split() == ["a", "d"]


def test_without_a_shell_it_says_which_there_are(desk: Desk) -> None:
    """Exit status 2 and one sentence."""
    status, _, err = desk.run("completion")
    assert status == 2
    assert "bash|zsh|fish" in err


def test_it_loads_no_sdk() -> None:
    """The parsers of all commands need none of the libraries of brokers and stores."""
    code = (
        "import sys, runner.cli; runner.cli.main(['completion', 'bash']);"
        f"runner.cli.main(['man']); sys.exit(bool(set({_SDKS!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0


def test_the_manual_has_every_command_and_option() -> None:
    """Each command is a heading of its own; each flag stands there, with what it does."""
    text = "\n".join(page())
    written = set(re.findall(r"\\fB(\S+?)\\fR", text.replace(r"\-", "-")))
    for name, parser in every_parser().items():
        assert f".SS {name.replace('-', chr(92) + '-')}\n" in text
        own = {flag for action in actions(parser) for flag in action.option_strings}
        assert own - {"-h", "--help", "--config"} <= written, name


def test_the_manual_is_well_formed(desk: Desk) -> None:
    """Its readers have nothing to complain of, and show it."""
    status, out, _ = desk.run("man")
    assert status == 0
    groff = _shell("groff")
    done = subprocess.run(
        [groff, "-man", "-Tutf8", "-ww"], input=out, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "run queued StudioML experiments" in done.stdout


def test_the_manual_passes_the_lint_of_mandoc(desk: Desk) -> None:
    """No warning, but for the date, which no page that is made anew each time has."""
    mandoc = _shell("mandoc")
    done = subprocess.run(
        [mandoc, "-T", "lint", "-W", "warning"],
        input=desk.run("man")[1],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = done.stdout + done.stderr
    assert [one for one in complaints.splitlines() if "missing date" not in one] == []
