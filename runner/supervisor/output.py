"""An experiment's output on disk: bounded, append-only, its first and its last part kept.

The first half of the limit goes straight into the output file, which others may follow while it
grows. What comes after it goes to pieces in the run's directory, of which the oldest is dropped for
each new one, and which are appended when the run has ended, below one line that says what was left
out between. The file never shrinks and nothing in it moves: a reader in between sees a true
beginning. A piece is named by its place in the stream, so that the daemon can put together what a
killed supervisor left.
"""

import os

from runner.supervisor import records

#: The last part is kept in so many pieces.
_PIECES = 16


def _append(path: bytes) -> int:
    # No link is followed: with a retry, the directory may have been an experiment's to write in.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, 0o600)


def _piece(directory: bytes, offset: int) -> bytes:
    return os.path.join(directory, records.TAIL + b"%020d" % offset)


class Output:
    """The output of one run; ``write`` takes any bytes and never fails for want of space."""

    def __init__(self, path: bytes, directory: bytes, limit: int) -> None:
        """Open ``path`` for appending. Raises OSError."""
        self._directory = directory
        self._limit = limit
        self._head = head_size(limit)
        self._piece_size = _piece_size(limit)
        self._file = _append(path)
        self._pieces: list[tuple[int, int]] = []  # offset, size
        self._current = -1
        self._noticed = False
        #: Bytes that the experiment wrote.
        self.total = 0
        #: Bytes of them that are not in the file: left out, or without space on the disk.
        self.cut = 0
        self.disk_full = False

    def write(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        rest = memoryview(data)
        room = self._head - self.total
        if room > 0:
            self._put(self._file, rest[:room])
            self.total += len(rest[:room])
            rest = rest[room:]
        while rest:
            used = self._write_piece(rest)
            rest = rest[used:]

    def finish(self) -> None:
        """Append the last part and close the file."""
        if self._current >= 0:
            os.close(self._current)
            self._current = -1
        try:
            join(self._file, self._directory, self._head)
        except OSError as error:
            self._lack(error, sum(size for _, size in self._pieces))
        finally:
            os.close(self._file)

    def _write_piece(self, rest: memoryview) -> int:
        if not self._pieces or self.total - self._pieces[-1][0] >= self._piece_size:
            self._next_piece()
        offset, size = self._pieces[-1]
        data = rest[: offset + self._piece_size - self.total]
        self._pieces[-1] = (offset, size + self._put(self._current, data))
        self.total += len(data)
        return len(data)

    def _next_piece(self) -> None:
        if self._current >= 0:
            os.close(self._current)
            self._current = -1
        if len(self._pieces) >= _PIECES:
            offset, size = self._pieces.pop(0)
            self.cut += size
            _remove(_piece(self._directory, offset))
            self._notice()
        self._pieces.append((self.total, 0))
        try:
            self._current = _append(_piece(self._directory, self.total))
        except OSError as error:
            self._lack(error, 0)

    def _notice(self) -> None:
        """Begin the line that ``join`` ends, for those who read in between."""
        if not self._noticed:
            self._noticed = True
            line = (
                b"\n[studio-runner: of this output only the first and the last part are kept, "
                b"%d bytes in all; " % self._limit
            )
            cut = self.cut
            self._put(self._file, memoryview(line))
            self.cut = cut  # counts the experiment's bytes, not ours

    def _put(self, fd: int, data: memoryview) -> int:
        """Write what fits on the disk, count the rest as cut, and return how much was written."""
        size = len(data)
        try:
            while data:
                data = data[os.write(fd, data) :]
        except OSError as error:
            self._lack(error, len(data))
        return size - len(data)

    def _lack(self, error: OSError, lost: int) -> None:
        # Whatever the error is, the experiment must not stand still behind a pipe nobody reads.
        self.disk_full = self.disk_full or is_disk_full(error)
        self.cut += lost


def _remove(path: bytes) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # it could not be made when the disk was full


def is_disk_full(error: OSError) -> bool:
    """Tell whether an error means that there is no space, or no more for this user."""
    import errno  # noqa: PLC0415 - not needed before something has failed

    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def head_size(limit: int) -> int:
    """Return how much of the limit is for the first part: half of it, and what makes it even."""
    return max(0, limit - _PIECES * _piece_size(limit))


def _piece_size(limit: int) -> int:
    return max(1, limit // 2 // _PIECES)


def recover(path: bytes, directory: bytes, limit: int) -> None:
    """Append what a killed supervisor left in ``directory``. Raises OSError."""
    if _left(directory):
        file = _append(path)
        try:
            join(file, directory, head_size(limit))
        finally:
            os.close(file)


def _left(directory: bytes) -> list[bytes]:
    return sorted(name for name in os.listdir(directory) if name.startswith(records.TAIL))


def join(file: int, directory: bytes, head: int) -> None:
    """Move the pieces to the end of ``file``, one after the other. Raises OSError."""
    names = _left(directory)
    if names and (cut := int(names[0][len(records.TAIL) :]) - head) > 0:
        os.write(file, b"%d bytes were left out here]\n" % cut)
    for name in names:
        path = os.path.join(directory, name)
        with open(path, "rb", 0, opener=records.at_once) as piece:
            while data := memoryview(piece.read(1 << 20)):
                while data:
                    data = data[os.write(file, data) :]
        os.unlink(path)
