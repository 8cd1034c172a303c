"""A changed directory has another signature, an unchanged one the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.archives.signature import signature


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a directory with one of each."""
    made = tmp_path / "modeldir"
    (made / "sub").mkdir(parents=True)
    (made / "sub" / "weights").write_bytes(b"0123456789")
    (made / "link").symlink_to("sub/weights")
    return made


def overwrite_in_place(tree: Path) -> None:
    """Same name, same size, and the old time put back."""
    weights = tree / "sub" / "weights"
    before = weights.stat()
    with weights.open("r+b") as file:
        file.write(b"9876543210")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(tree: Path) -> None:
    """The same content as another file of the same time."""
    weights = tree / "sub" / "weights"
    before = weights.stat()
    new = tree / "new"
    new.write_bytes(b"abcdefghij")
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.rename(weights)


def relink(tree: Path) -> None:
    """A link to elsewhere, of the same length."""
    (tree / "link").unlink()
    (tree / "link").symlink_to("sub/Weights")


CHANGES: list[Callable[[Path], object]] = [
    overwrite_in_place,
    replace,
    relink,
    lambda tree: (tree / "sub" / "weights").chmod(0o600),
    lambda tree: (tree / "sub").chmod(0o700),
    lambda tree: (tree / "sub" / "weights").unlink(),
    lambda tree: (tree / "sub" / "weights").rename(tree / "sub" / "w"),
    lambda tree: (tree / "empty").mkdir(),
    lambda tree: (tree / "empty").touch(),
    lambda tree: (tree / "sub").rename(tree / "other"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(tree: Path, change: Callable[[Path], object]) -> None:
    """Name, size, time, content, mode, link, kind: at once after the look, too."""
    before = signature(tree)
    change(tree)
    assert signature(tree) != before


def test_nothing_changed_nothing_seen(tree: Path) -> None:
    """Reading changes nothing, nor does looking."""
    before = signature(tree)
    (tree / "sub" / "weights").read_bytes()
    assert signature(tree) == before


def test_two_quick_writes_of_one_size_differ(tree: Path) -> None:
    """However fast one write and one look follow the other."""
    seen = set()
    for number in range(50):
        with (tree / "sub" / "weights").open("r+b") as file:
            file.write(b"%010d" % number)
        seen.add(signature(tree))
    assert len(seen) == 50


def test_a_stamp_from_the_future_is_never_trusted(tree: Path) -> None:
    """Times of change can only be ahead on a file server; names and sizes still count there."""
    os.utime(tree / "sub" / "weights", (2**33, 2**33))
    before = signature(tree)
    assert signature(tree) == before
