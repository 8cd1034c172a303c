"""The documentation: built strictly, complete in what the code has, readable where it lies."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.site import reference
from runner.cli import COMMANDS
from runner.cli.parsers import actions, every_parser
from runner.model import Cause
from runner.settings import OPTIONS
from runner.settings.parser import Parser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_LINK = re.compile(r"!?\[[^]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`[^`]*`")
_COMMAND = re.compile(
    r"(?:^ *|`|bin/|sudo )studio-runner ([a-z][a-z-]*)((?: [^\s`|;#&)]+)*)", re.MULTILINE
)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
#: What stands outside ``docs`` and is built by nobody.
OUTSIDE = sorted(
    page.relative_to(ROOT).as_posix()
    for pattern in ("*.md", ".github/*.md", "certs.example/**/*.md", "deploy/**/*.md")
    for page in ROOT.glob(pattern)
)


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """No broken link or anchor, no page that is in no index, no fence that is not what it says.

    With the plainest of themes: to paint the side bar of every page takes as long as all the rest.
    """
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    command += ["-D", "html_theme=basic"]
    command += ["-c", "docs/site", "-d", str(tmp_path / "trees"), "docs", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "The life of an experiment" in (tmp_path / "out/explanation/life.html").read_text()


@pytest.mark.parametrize("page", sorted(reference.PAGES), ids=lambda page: page.stem)
def test_what_is_written_from_the_code_is_up_to_date(page: Path) -> None:
    """A new option, command, cause or exit status has its entry; else ``make reference``."""
    assert page.read_text(encoding="utf-8") == reference.PAGES[page]()


def test_every_cause_and_every_command_has_an_entry() -> None:
    """Should the pages be written in another way some day, this still holds."""
    causes = (DOCS / "reference/causes.md").read_text(encoding="utf-8")
    assert [cause for cause in Cause if f"| `{cause}` |" not in causes] == []
    commands = (DOCS / "reference/commands.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"\n## {name}\n" not in commands] == []


def test_links_of_pages_that_are_not_built_lead_somewhere() -> None:
    """README and the others are read where they lie: their links and anchors are checked here."""
    broken = [
        f"{page}: {target}"
        for page in OUTSIDE
        for target in _LINK.findall(_prose((ROOT / page).read_text(encoding="utf-8")))
        if not _leads_somewhere(ROOT / page, target)
    ]
    assert broken == []


def test_commands_that_are_told_exist_with_their_options() -> None:
    """Of a command line that somebody may copy, each word that is ours is known here."""
    known = {name: _flags_of(parser) for name, parser in every_parser().items()}
    pages = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "certs.example/README.md"]
    wrong = [
        f"{page.relative_to(ROOT)}: {command} {word}"
        for page in pages
        for command, words in _COMMAND.findall(page.read_text(encoding="utf-8"))
        for word in _flags(words) or [""]
        if command not in known or word.partition("=")[0] not in known[command] | {""}
    ]
    assert wrong == []


def test_defaults_that_pages_quote_are_those_of_the_options() -> None:
    """``--staging-time`` (30 min): as long as the option says the same."""
    quoted = re.compile(r"`--([a-z-]+)(?: [A-Z]+)?` \((\d+)( ?[a-zA-Z]*)\)")
    wrong = [
        f"{page.relative_to(ROOT)}: --{name} is {number}{unit}"
        for page in sorted(DOCS.rglob("*.md"))
        for name, number, unit in quoted.findall(page.read_text(encoding="utf-8"))
        if not _is_default(name, number, unit)
    ]
    assert wrong == []


def _is_default(name: str, number: str, unit: str) -> bool:
    default = OPTIONS[name.replace("-", "_")].default
    words = re.fullmatch(r"(\d+)([a-z]*)", str(default))
    return words is not None and words[1] == number and unit.strip().lower()[:1] == words[2][:1]


def _flags_of(parser: Parser) -> set[str]:
    return {flag for action in actions(parser) for flag in action.option_strings}


def _flags(words: str) -> list[str]:
    """Return the flags up to the script, behind which they are the script's."""
    ours, _, _ = words.partition(".py")
    return [word.rstrip(".,:") for word in ours.split() if word.startswith("--") and word != "--"]


def test_documents_speak_of_files_that_exist() -> None:
    """Modules, manifests and benchmarks that are named in the documentation are there."""
    named = re.compile(r"`((?:runner|deploy|benchmarks|tests|docker|certs\.example)/[\w./-]+)`")
    missing = {
        f"{page.relative_to(ROOT)}: {name}"
        for page in sorted(DOCS.rglob("*.md"))
        for name in named.findall(page.read_text(encoding="utf-8"))
        if not (ROOT / name).exists()
    }
    assert missing == set()


def test_pictures_say_what_they_show_and_bring_their_own_ground() -> None:
    """They are read aloud, and readable on a light page and on a dark one."""
    pictures = sorted((DOCS / "pictures").glob("*.svg"))
    assert pictures
    for picture in pictures:
        text = picture.read_text(encoding="utf-8")
        assert "<title" in text
        assert "<desc" in text
        assert 'role="img"' in text
        assert "prefers-color-scheme: dark" in text
        assert 'class="ground"' in text


def _prose(text: str) -> str:
    return _SPAN.sub("", _FENCE.sub("", text))


def _leads_somewhere(page: Path, target: str) -> bool:
    if re.match(r"[a-z]+:", target):
        return True
    path, _, anchor = target.partition("#")
    file = (page.parent / path) if path else page
    return file.exists() and (not anchor or anchor in _anchors(file))


def _anchors(file: Path) -> set[str]:
    headings = _HEADING.findall(_FENCE.sub("", file.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
