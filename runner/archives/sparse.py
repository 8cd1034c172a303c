"""A file with holes as a member of a tar archive: GNU's sparse format 1.0 in pax headers.

It is the one form that GNU tar, Python's ``tarfile`` (and so StudioML's client) and, by their
documentation, libarchive and Go read: records that name the file and say how long it is, a map of
its data at the beginning of the member's content, and the data one after the other.
https://www.gnu.org/software/tar/manual/html_section/Sparse-Formats.html
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence

from runner.model import Span

_BLOCK = tarfile.BLOCKSIZE
#: Programs that know nothing of it leave a file of this name, and none that looks whole.
_STAND_IN = "GNUSparseFile.0/data"
#: More has no room in the octal digits of a header.
_OCTAL = 8**11
_SIZE, _SUM = slice(124, 136), slice(148, 156)


def sparse_head(info: tarfile.TarInfo, spans: Sequence[Span]) -> bytes:
    """Return headers and map of a member; the data of ``spans`` and padding are to follow.

    ``info`` has the file's own name and size. All spans but the last have whole blocks of 512
    bytes.
    """
    chart = _chart(spans, info.size)
    stored = len(chart) + sum(span.length for span in spans)
    head = tarfile.TarInfo(_STAND_IN)
    head.mode, head.mtime = info.mode, info.mtime
    head.size = stored if stored < _OCTAL else 0
    head.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": info.name,
        "GNU.sparse.realsize": str(info.size),
    }
    made = head.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return (made if stored < _OCTAL else _with_size(made, stored)) + chart


def _chart(spans: Sequence[Span], size: int) -> bytes:
    numbers = [number for span in spans for number in (span.start, span.length)]
    if not spans or spans[-1].end < size:
        numbers += (size, 0)  # else GNU tar would not know of the hole at the end
    text = b"".join(b"%d\n" % number for number in (len(numbers) // 2, *numbers))
    return text + bytes(-len(text) % _BLOCK)


def _with_size(made: bytes, size: int) -> bytes:
    """Write a size in binary, as GNU tar does.

    With a pax record of it, tarfile would take the file's length for the member's, and look for
    the next header far behind it.
    """
    block = bytearray(made[-_BLOCK:])
    block[_SIZE] = b"\x80" + size.to_bytes(11, "big")
    block[_SUM] = b" " * 8
    block[_SUM] = b"%06o\0 " % sum(block)
    return made[:-_BLOCK] + bytes(block)
