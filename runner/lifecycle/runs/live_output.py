"""The output of a run as it grows, for people: decoded, and without what is secret."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from runner import blocking
from runner.lifecycle.artifacts.regular import open_regular
from runner.lifecycle.runs.wanted import Wanted
from runner.redaction import Redactor

_CHUNK = 1 << 16
_LIMIT = blocking.Limit(4)
_ALL = Wanted()


class LiveOutput:
    """Reads one output on and on. The file stays open, so its end is not lost with its directory.

    An experiment may have put something else in the place of the file: nothing but a regular file
    is read, and no link is followed.
    """

    def __init__(self, redactor: Redactor, *, start: int = 0, wanted: Wanted = _ALL) -> None:
        """``start``: how many bytes of it, which end with a line, are somebody else's.

        Else what is ``wanted`` of it, as it stands when it is first read.
        """
        #: Of the first byte that is read; of a wanted part once there is something.
        self.start = start
        self._wanted = wanted
        self._redacted = redactor.stream()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._file = -1

    async def read_on(self, path: Path | None) -> str:
        """Return what is certain of the next piece; empty when there is none for now."""
        while path is not None and (data := await self._read(path)):
            text = self._decoder.decode(self._redacted.feed(data))
            if text:
                return text
        return ""

    def rest(self) -> str:
        """Return what was held back because it might have become a secret or a character."""
        return self._decoder.decode(self._redacted.close(), final=True)

    @property
    def left(self) -> int:
        """How many bytes there are that were not read yet."""
        if self._file < 0:
            return 0
        read = os.lseek(self._file, 0, os.SEEK_CUR)
        return max(0, os.fstat(self._file).st_size - read)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    async def _read(self, path: Path) -> bytes:
        def read(_: blocking.Stop) -> bytes:
            try:
                if self._file < 0:
                    self._file = open_regular(path, os.O_RDONLY)
                    self._begin()
                return os.read(self._file, _CHUNK)
            except OSError:  # not there yet, or no file
                return b""

        return await blocking.call(read, limit=_LIMIT)

    def _begin(self) -> None:
        if self._wanted != _ALL:
            with os.fdopen(self._file, "rb", closefd=False) as file:
                self.start = self._wanted.start(file)
        os.lseek(self._file, self.start, os.SEEK_SET)


def size_of(path: Path | None) -> int:
    """Return how many bytes an output has by now."""
    try:
        return 0 if path is None else path.stat(follow_symlinks=False).st_size
    except OSError:
        return 0
