"""What the doctor finds, as lines for people: a symbol, a word, and what mends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.style import Style
from rich.text import Text

from runner.cli import show
from runner.doctor.check import Check, Verdict, exit_status
from runner.doctor.examination import Subject

#: Symbol, word and style: each tells by itself, and none takes telling red from green.
_LOOKS: Mapping[Verdict, tuple[str, str, Style]] = {
    Verdict.OK: ("✓", "ok", Style(color="cyan")),
    Verdict.WARNING: ("!", "warning", Style(color="yellow", bold=True)),
    Verdict.FAILED: ("✗", "FAILED", Style(bold=True, reverse=True)),
    Verdict.SKIPPED: ("-", "skipped", Style(dim=True)),
}
#: For terminals that draw no other.
_PLAIN = {"✓": "+", "✗": "x"}
_NAME, _INDENT = 14, 11
#: Seconds; a shorter look is not worth a word.
_NOTEWORTHY = 0.1


class Lines:
    """Prints each finding as it comes, and the sum at the end. ``NO_COLOR`` is rich's to heed."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._begun = time.monotonic()
        self.found: list[Check] = []

    def told(self, check: Check) -> None:
        """Print a finding."""
        self.found.append(check)
        self._console.print(self._line(check), soft_wrap=True)

    @contextmanager
    def waiting(self) -> Iterator[Callable[[Subject], None]]:
        """Show on a terminal what is over."""
        if not self._console.is_terminal:
            yield lambda _: None
            return
        over: list[str] = []
        with self._console.status("looking …") as status:

            def note(subject: Subject) -> None:
                over.append(subject.name)
                status.update(f"looking … done: {', '.join(over)}")

            yield note

    def sum_up(self) -> None:
        """Print how much of each there was, and the exit status."""
        verdicts = [check.verdict for check in self.found]
        counts = ", ".join(f"{verdicts.count(one)} {_LOOKS[one][1]}" for one in Verdict)
        took = time.monotonic() - self._begun
        text = f"\n{counts} in {took:.1f} s; exit status {exit_status(self.found)}"
        self._console.print(Text(text), soft_wrap=True)

    def _line(self, check: Check) -> Text:
        symbol, word, style = _LOOKS[check.verdict]
        about = f"{check.about}: " if check.about else ""
        took = f" ({check.seconds:.1f} s)" if check.seconds >= _NOTEWORTHY else ""
        text = Text.assemble(
            (f"{self._drawn(symbol)} {word}", style),
            " " * (_INDENT - len(word) - 2),
            f"{check.name:<{_NAME}}",
            self._drawn(f"{about}{check.sentence}{took}"),
        )
        if check.remedy and check.verdict is not Verdict.OK:
            remedy = self._drawn(f"mend it: {check.remedy}")
            text.append(f"\n{' ' * (_INDENT + _NAME)}{remedy}")
        return text

    def _drawn(self, text: str) -> str:
        """Return what this terminal can draw of a text, on one line."""
        if not self._console.encoding.startswith("utf"):
            text = _PLAIN.get(text, text).encode("ascii", "replace").decode()
        return show.line(text)
