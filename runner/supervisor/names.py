"""What ``/proc`` shows of a process: its arguments and variables, written anew in place.

The kernel shows the memory where they lay at the start of the program, whatever lies there now.
"""

from __future__ import annotations

import ctypes

#: Where that memory begins and ends: fields of ``/proc/PID/stat`` (proc(5)) after the name.
_ARGUMENTS, _VARIABLES = slice(45, 47), slice(47, 49)


class Room:
    """A run of equal characters in that memory, which a shorter text can take the place of."""

    def __init__(self, filler: bytes, *, among_variables: bool) -> None:
        """Find the ``filler``. Raises LookupError where it is not shown, or not there."""
        with open("/proc/self/stat", "rb", 0) as file:
            fields = file.read().rpartition(b")")[2].split()
        begin, end = map(int, fields[_VARIABLES if among_variables else _ARGUMENTS])
        shown = ctypes.string_at(begin, end - begin) if begin else b""
        offset = shown.find(filler)
        if offset < 0:
            raise LookupError("the kernel does not show where arguments and variables lie")
        self._address, self._filler = begin + offset, filler

    def write(self, text: bytes) -> None:
        """Show ``text`` there. Raises ValueError when it is too long."""
        if len(text) > len(self._filler):
            raise ValueError(f"there is room for {len(self._filler)} bytes only")
        ctypes.memmove(self._address, text.ljust(len(self._filler), b"\0"), len(self._filler))

    def clear(self) -> None:
        """Show what was there at first."""
        ctypes.memmove(self._address, self._filler, len(self._filler))
