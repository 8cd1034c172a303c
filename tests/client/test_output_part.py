"""The last lines of a stored output, wherever it is stored."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.client.bucket import Bucket
from runner.client.output_part import give_part
from runner.client.ranged import Ranged
from runner.client.remote_shop import remote_shop
from runner.client.shop import LocalShop, Shop
from runner.lifecycle.runs.wanted import Wanted
from runner.model import Span
from runner.stores.base import StoreOptions
from tests.client.archive import packed, put
from tests.servers.s3 import S3Server

_LINES = "".join(f"line {number:07}\n" for number in range(100_000))
_LENGTH = len("line 0000000\n")


def given(shop: Shop, wanted: Wanted) -> tuple[int, str] | None:
    """Return a part of the stored output: where it begins, and its text."""
    parts: list[tuple[int, str]] = []

    def take(start: int, pieces: Iterator[bytes]) -> None:
        parts.append((start, b"".join(pieces).decode()))

    return parts[-1] if shop.output("k1", wanted, take) else None


class Promises:
    """What both stores keep; each subclass gives one."""

    @pytest.fixture
    def shop(self) -> Iterator[Shop]:
        """The store."""
        raise NotImplementedError

    def test_a_part_of_an_output_is_read(self, shop: Shop) -> None:
        """Its last lines, from a place on, all of it; nothing where there is none."""
        assert given(shop, Wanted(3)) is None
        put(shop, "experiments/k1/output.tar", packed({"./output": _LINES.encode()}))
        last = given(shop, Wanted(2))
        assert last == (_LENGTH * 99_998, "line 0099998\nline 0099999\n")
        since = given(shop, Wanted(since=_LENGTH * 99_999))
        assert since == (_LENGTH * 99_999, "line 0099999\n")
        assert given(shop, Wanted()) == (0, _LINES)
        assert given(shop, Wanted(0)) == (len(_LINES), "")
        assert given(shop, Wanted(1_000_000)) == (0, _LINES)

    def test_an_output_comes_in_pieces(self, shop: Shop) -> None:
        """However long it is: nobody's memory has all of it."""
        put(shop, "experiments/k1/output.tar", packed({"./output": _LINES.encode() * 3}))
        for wanted in (Wanted(), Wanted(250_000)):
            sizes: list[int] = []
            assert shop.output("k1", wanted, lambda _, pieces: sizes.extend(map(len, pieces)))  # noqa: B023 - called at once
            assert max(sizes) <= 1 << 20
            assert len(sizes) > 2

    def test_what_is_no_archive_is_no_output(self, shop: Shop) -> None:
        """Nor one that holds something else, or ends early."""
        whole = packed({"./output": _LINES.encode()})
        other = packed({"./other": b"x"})
        for body in (b"", b"nothing of the kind" * 100, other):
            put(shop, "experiments/k1/output.tar", body)
            assert given(shop, Wanted(3)) is None
        put(shop, "experiments/k1/output.tar", whole[:5000])
        assert given(shop, Wanted(3)) is None


class TestLocal(Promises):
    """A directory."""

    @pytest.fixture
    def shop(self, tmp_path: Path) -> Shop:
        """The store."""
        return LocalShop(tmp_path)


@pytest.mark.service("s3")
class TestBucket(Promises):
    """A bucket."""

    @pytest.fixture
    def shop(self, seaweed_server: S3Server, seaweed_bucket: str) -> Iterator[Shop]:
        """The store."""
        place = Bucket(seaweed_server.endpoint, seaweed_bucket, "", seaweed_server.admin)
        with remote_shop(place, StoreOptions()) as shop:
            yield shop


def test_only_the_lines_that_are_wanted_are_fetched() -> None:
    """Of an output of many megabytes a header and the end."""
    body = packed({"./output": _LINES.encode() * 20})
    fetched: list[Span] = []

    def fetch(span: Span) -> bytes:
        fetched.append(span)
        return body[span.start : span.end]

    with (
        io.BufferedReader(Ranged(len(body), fetch), 64 << 10) as stream,
        tarfile.open(fileobj=stream, mode="r:") as archive,
    ):
        texts: list[bytes] = []
        assert give_part(archive, Wanted(5), lambda _, pieces: texts.extend(pieces))
    assert b"".join(texts).decode() == _LINES[-5 * _LENGTH :]
    assert sum(span.length for span in fetched) < 1 << 19
    assert len(fetched) <= 8
