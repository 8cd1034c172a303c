"""Under which name what is kept: nobody's claim gives access to another's bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.cache.address import address
from runner.cache.base import Source
from runner.errors import BadField
from runner.model import Bytes, Location
from runner.stores.base import Checksum, ObjectInfo

STRONG = [Checksum("md5", "0" * 32), Checksum("sha256", "0" * 64), Checksum("md5-parts", "00-2")]
WEAK = [Checksum("crc32c", "00000000"), Checksum("etag", "abc")]


def source(checksum: Checksum | None, *, scheme: str = "s3", unpack: bool = True) -> Source:
    """Describe an object."""
    bucket = "bucket" if scheme in {"s3", "gs"} else ""
    location = Location(scheme, "host", bucket, "folder/a.tar")
    return Source(location, ObjectInfo(Bytes(9), "v1", checksum), unpack)


def renamed(one: Source) -> Source:
    """Return the same content under another name."""
    return replace(one, location=replace(one.location, key="b/other.tar"))


@pytest.mark.parametrize("checksum", STRONG)
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_digest_of_the_stores_own_is_the_content(checksum: Checksum, scheme: str) -> None:
    """Name and version do not count where the store computed a digest that identifies."""
    one = source(checksum, scheme=scheme)
    assert address(one, 0) == address(renamed(one), 0)
    later = replace(one, info=replace(one.info, version="v2"))
    assert address(one, 0) == address(later, 0)


@pytest.mark.parametrize("checksum", [None, *WEAK])
def test_without_one_the_name_and_version_count(checksum: Checksum | None) -> None:
    """A checksum that anybody can make a content for is no identity."""
    one = source(checksum)
    assert address(one, 0) != address(renamed(one), 0)
    assert address(one, 0) != address(replace(one, info=replace(one.info, version="v2")), 0)


@pytest.mark.parametrize("scheme", ["http", "https", "file"])
@pytest.mark.parametrize("checksum", STRONG)
def test_a_digest_that_the_owner_may_write_counts_for_one_name(
    scheme: str, checksum: Checksum
) -> None:
    """On a web server each user's headers are the user's: they say nothing of another's file."""
    one = source(checksum, scheme=scheme)
    assert address(one, 0) != address(renamed(one), 0)


@pytest.mark.parametrize("checksum", [None, *STRONG])
def test_nothing_is_shared_between_hosts_buckets_endpoints_and_users(
    checksum: Checksum | None,
) -> None:
    """A server of the sender's own may claim any digest: it finds only what came from itself."""
    one = source(checksum)
    keys = {
        address(one, 0),
        address(one, 65534),
        address(replace(one, location=replace(one.location, host="evil")), 0),
        address(replace(one, location=replace(one.location, bucket="evil")), 0),
        address(replace(one, location=replace(one.location, scheme="gs")), 0),
        address(replace(one, endpoint="https://evil"), 0),
        address(replace(one, endpoint="http://evil"), 0),
        address(replace(one, info=replace(one.info, size=Bytes(8))), 0),
        address(replace(one, unpack=False), 0),
    }
    assert len(keys) == 9


def test_parts_of_an_address_do_not_run_together() -> None:
    """Moving a character from the host to the bucket makes another key."""
    one = source(STRONG[0])
    moved = replace(one, location=replace(one.location, host="hostb", bucket="ucket"))
    assert address(one, 0) != address(moved, 0)


def test_a_single_file_is_kept_under_its_name() -> None:
    """The same content under another name is another directory; under the same, the same."""
    one = source(STRONG[0], unpack=False)
    same = replace(one, location=replace(one.location, key="elsewhere/a.tar"))
    assert address(one, 0) == address(same, 0)
    assert address(one, 0) != address(renamed(one), 0)


def test_what_cannot_be_told_apart_is_not_kept() -> None:
    """No version and no digest: the next object may be another one of the same length."""
    one = source(None, scheme="http")
    assert address(replace(one, info=ObjectInfo(Bytes(9), "")), 0) is None


def test_a_key_without_a_file_name_is_refused() -> None:
    """As it is without a cache."""
    one = source(None, unpack=False)
    with pytest.raises(BadField):
        address(replace(one, location=replace(one.location, key="folder/")), 0)
