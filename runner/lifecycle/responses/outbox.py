"""The reports that wait for one response queue: bounded, lines of outputs dropped first. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

#: Reports, and bytes of all of them before they are sealed.
MOST, LONGEST = 2000, 4 << 20


@dataclass(frozen=True, slots=True)
class Letter:
    """One report on its way."""

    body: bytes
    #: By a clock that nobody sets.
    posted_at: float
    matters: bool
    #: It goes out sealed, or not at all.
    is_private: bool


class Outbox:
    """First in, first out; what does not fit any more is counted in ``lost``."""

    def __init__(self, most: int = MOST, longest: int = LONGEST) -> None:
        self._most = most
        self._longest = longest
        self._letters: deque[Letter] = deque()
        self._bytes = 0
        #: Since it was asked for by ``say_lost``.
        self.lost = 0

    def __len__(self) -> int:
        return len(self._letters)

    def put(self, letter: Letter) -> None:
        """Add a letter; the oldest that matters least makes room."""
        self._letters.append(letter)
        self._bytes += len(letter.body)
        self._make_room()

    def take(self, most: int, longest: int) -> list[Letter]:
        """Remove the first letters, one at least where there is any, and return them."""
        taken: list[Letter] = []
        size = 0
        while self._letters and len(taken) < most:
            size += len(self._letters[0].body)
            if taken and size > longest:
                break
            taken.append(self._letters.popleft())
            self._bytes -= len(taken[-1].body)
        return taken

    def put_back(self, letters: list[Letter], before: float) -> None:
        """Take letters back that could not be sent, but for those posted ``before``: too old."""
        fresh = [letter for letter in letters if letter.posted_at >= before]
        self.lost += len(letters) - len(fresh)
        self._letters.extendleft(reversed(fresh))
        self._bytes += sum(len(letter.body) for letter in fresh)
        self._make_room()

    def clear(self) -> None:
        """Forget all of them: there is nobody to read them."""
        self._letters.clear()
        self._bytes = 0

    def say_lost(self) -> int:
        """Return how many were lost since the last time."""
        lost, self.lost = self.lost, 0
        return lost

    def _make_room(self) -> None:
        """Drop lines until there is some room to spare; what matters as far as it has to be."""
        for most, longest, only_lines in (
            (self._most * 9 // 10, self._longest * 9 // 10, True),
            (self._most, self._longest, False),
        ):
            if len(self._letters) > self._most or self._bytes > self._longest:
                self._drop(most, longest, only_lines=only_lines)

    def _drop(self, most: int, longest: int, *, only_lines: bool) -> None:
        excess, kept = len(self._letters) - most, deque[Letter]()
        for letter in self._letters:
            is_over = excess > 0 or self._bytes > longest
            if is_over and not (only_lines and letter.matters):
                excess -= 1
                self._bytes -= len(letter.body)
                self.lost += 1
            else:
                kept.append(letter)
        self._letters = kept
