"""The digest of a tree: whatever a run could see changes it, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.blocking import Interrupted, Stop
from runner.cache.digest import small_tree_digest, tree_digest


def digest(root: Path) -> str:
    """Return the digest, which is the same however many threads make it."""
    found = {tree_digest(root, lambda: None, threads=threads) for threads in (1, 3)}
    found.add(small_tree_digest(root, lambda: None))
    assert len(found) == 1
    return found.pop()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tree with some of everything."""
    root = tmp_path / "tree"
    (root / "folder" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    for number in range(100):
        (root / "folder" / f"f{number}").write_bytes(b"x" * number)
    (root / "folder" / "deep" / "large").write_bytes(os.urandom(3 << 20))
    (root / "link").symlink_to("folder/f1")
    return root


def replace_by(path: Path, make: Callable[[Path], object]) -> None:
    """Put something else in a place."""
    path.unlink()
    make(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: (root / "folder/f9").write_bytes(b"y" * 9),
    "length": lambda root: os.truncate(root / "folder/deep/large", (3 << 20) - 1),
    "mode": lambda root: (root / "folder/f9").chmod(0o755),
    "directory mode": lambda root: (root / "empty").chmod(0o700),
    "name": lambda root: (root / "folder/f9").rename(root / "folder/g9"),
    "place": lambda root: (root / "folder/f9").rename(root / "folder/deep/f9"),
    "a new file": lambda root: (root / "new").touch(),
    "a new directory": lambda root: (root / "new").mkdir(),
    "a removed file": lambda root: (root / "folder/f0").unlink(),
    "a removed directory": lambda root: (root / "empty").rmdir(),
    "target": lambda root: replace_by(root / "link", lambda link: link.symlink_to("folder/f2")),
    "a link become a file": lambda root: replace_by(root / "link", Path.touch),
    "a file become a pipe": lambda root: replace_by(root / "folder/f0", os.mkfifo),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_every_change_is_seen(tree: Path, change: str) -> None:
    """Names, kinds, permissions, targets and contents all count."""
    before = digest(tree)
    CHANGES[change](tree)
    assert digest(tree) != before


def test_times_and_the_order_of_making_do_not_count(tree: Path, tmp_path: Path) -> None:
    """The same content elsewhere, made in another order, has the same digest."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in sorted(tree.rglob("*"), reverse=True):
        target = copy / path.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            target.symlink_to(path.readlink())
        elif path.is_file():
            target.write_bytes(path.read_bytes())
        else:
            target.mkdir(exist_ok=True)
    os.utime(copy / "empty", (0, 0))
    assert digest(copy) == digest(tree)


def test_it_stops_when_asked(tree: Path) -> None:
    """Nothing is left open; the leak check looks."""
    stop = Stop()
    stop.set()
    with pytest.raises(Interrupted):
        tree_digest(tree, stop.check, threads=2)


def with_holes(path: Path, pieces: dict[int, bytes], size: int) -> None:
    """Write a file of data and holes."""
    with path.open("wb") as file:
        for start, data in pieces.items():
            file.seek(start)
            file.write(data)
        file.truncate(size)


def test_a_hole_is_as_good_as_zeros_and_costs_nothing(tmp_path: Path) -> None:
    """However a file system keeps zeros, the digest is one; of a petabyte of them as well."""
    size = (5 << 20) + 7
    holes, zeros = tmp_path / "holes", tmp_path / "zeros"
    for root in (holes, zeros):
        root.mkdir()
        with_holes(root / "file", {(2 << 20) + 300_000: b"data", 4 << 20: b"more"}, size)
    (zeros / "file").write_bytes((holes / "file").read_bytes())
    assert (zeros / "file").stat().st_blocks > (holes / "file").stat().st_blocks
    assert digest(holes) == digest(zeros)
    with_holes(holes / "large", {3 << 40: b"end"}, 5 << 40)
    assert digest(holes) != digest(zeros)


def test_where_data_lie_between_holes_counts(tmp_path: Path) -> None:
    """The same data at another place, or with another length of nothing behind, is another file."""
    forms = [
        ({0: b"x"}, 9),
        ({3: b"x"}, 9),
        ({6: b"x"}, 9),
        ({0: b"x", 3: b"x"}, 9),
        ({0: b"x"}, 8),
    ]
    forms += [({}, 9), ({}, 8), ({}, 0)]
    found = set()
    for number, (pieces, size) in enumerate(forms):
        root = tmp_path / str(number)
        root.mkdir()
        with_holes(root / "f", {at << 20: data for at, data in pieces.items()}, size << 20)
        found.add(digest(root))
    assert len(found) == len(forms)
