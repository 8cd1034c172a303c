"""An object made of ranges of its earlier version, which the store copies by itself, and a tail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from itertools import pairwise
from typing import BinaryIO, cast

from runner.blocking import Stop, call
from runner.model import Bytes, Location, Span
from runner.stores.base import AccessDenied, Conflict, NotFound, ObjectInfo, unasked
from runner.stores.remote.client import NotDone
from runner.stores.remote.parts import boundaries
from runner.stores.remote.store import RemoteStore
from runner.stores.remote.upload import Upload
from runner.stores.streams import GuardedStream

#: S3's smallest part, and with it the smallest range.
SMALLEST = 5 << 20
#: What one request copies, as long as there are not too many: one that takes minutes is cut.
_COPY = 64 << 20
_MOST_COPIES = 900
_AT_ONCE = 6


class PatchingStore(RemoteStore):
    """A remote store whose client has ``copy_part``."""

    @property
    def smallest_kept(self) -> Bytes:
        """S3 makes parts of no less."""
        return Bytes(SMALLEST)

    async def patch(
        self,
        location: Location,
        version: str,
        kept: Sequence[Span],
        produce: Callable[[BinaryIO], None],
        *,
        permitted: Callable[[], None] = unasked,
    ) -> ObjectInfo:
        """Store ranges of an object and what ``produce`` writes behind them."""

        def run(stop: Stop) -> ObjectInfo:
            client = self._client.get()
            self._leftovers.remove(client, stop)
            with closing(
                Patch(
                    client,
                    location,
                    stop,
                    self.patience,
                    left_behind=self._leftovers.add,
                    permitted=permitted,
                )
            ) as patch:
                patch.keep(version, kept)
                stream = GuardedStream(cast("BinaryIO", patch), stop, nullcontext)
                produce(cast("BinaryIO", stream))
                return patch.commit()

        return await call(run, limit=self._transfers)


class Patch(Upload):
    """An upload whose first parts are copied: ``keep`` comes before the first write."""

    _pieces: Sequence[Span] = ()
    _copied: Sequence[str] = ()

    def keep(self, version: str, spans: Sequence[Span]) -> None:
        """Have the store copy ranges. Raises Conflict where it is another version, or refuses."""
        self._pieces = cut(spans)
        self._only_if = version
        self._upload = self._begun()
        try:
            self._copied = self._copy_all(self._upload, version)
            # Not every server minds the condition that each copy had.
            found = self._attempts.run(lambda: self._client.head(self._location))
        except (AccessDenied, NotFound, NotDone) as error:
            raise Conflict(f"{self._location}: the store keeps nothing of it: {error}") from error
        if found.version != version:
            raise Conflict(f"{self._location} was changed by somebody else")
        self._number += len(self._pieces)
        self._size += sum(piece.length for piece in self._pieces)

    def commit(self) -> ObjectInfo:
        """Make the object, and look whether it is as long as it must be."""
        info = super().commit()
        found = self._attempts.run(lambda: self._client.head(self._location))
        if found.version == info.version and found.size != info.size:
            raise Conflict(
                f"{self._location} has {found.size} bytes instead of {info.size} after ranges of "
                "it were kept"
            )
        return info

    def _completed(self, upload: str, tags: list[str]) -> ObjectInfo:
        """Complete it, unless readers would take its parts for those of a plain upload.

        The tag of a copied part need not be the MD5 of its bytes; so no reader can verify the
        object by its parts, and none must try to, see ``checksum.expected``.
        """
        count = len(self._copied) + len(tags)
        if boundaries(self._size, count, self._pieces[0].length) is not None:
            raise Conflict(f"{self._location}: its parts would look like those of a plain upload")
        return super()._completed(upload, [*self._copied, *tags])

    def _copy_all(self, upload: str, version: str) -> list[str]:
        with ThreadPoolExecutor(_AT_ONCE, "copy") as threads:
            copying = [
                threads.submit(self._copy, upload, number, piece, version)
                for number, piece in enumerate(self._pieces, 1)
            ]
            try:
                return [one.result() for one in copying]
            except BaseException:
                self._stop.set()
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _copy(self, upload: str, number: int, piece: Span, version: str) -> str:
        return self._attempts.run(
            lambda: self._client.copy_part(self._location, upload, number, piece, version=version)
        )


def cut(spans: Sequence[Span]) -> list[Span]:
    """Return the parts to copy, none smaller than ``SMALLEST``, which no span may be. Pure.

    The first is the smallest there can be where that leaves enough of its span: an object whose
    parts are mostly larger than the first cannot be taken for one of parts alike.
    """
    most = max(_COPY, -(-sum(span.length for span in spans) // _MOST_COPIES))
    first = spans[0]
    whole = [first, *spans[1:]]
    if first.length >= 2 * SMALLEST:
        rest = Span(first.start + SMALLEST, first.length - SMALLEST)
        whole = [Span(first.start, SMALLEST), rest, *spans[1:]]
    return [piece for span in whole for piece in _halved(span, most)]


def _halved(span: Span, most: int) -> list[Span]:
    """Cut a span into pieces alike, none longer than ``most``."""
    count = -(-span.length // most)
    ends = [span.start + span.length * number // count for number in range(count + 1)]
    return [Span(start, end - start) for start, end in pairwise(ends)]
