"""What a look at a directory sees, and what it cannot be made to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner.queues.credentials import tree
from tests.queues.credentials.keys import kubelet, put


def _names(root: Path) -> list[str]:
    return sorted(str(Path(path).relative_to(root)) for path in tree.look(str(root)).files)


def test_files_are_found_at_any_depth_and_dotted_names_are_not(tmp_path: Path) -> None:
    """What begins with a dot is nobody's credential."""
    for name in ("a", "b/c", "b/d/e", ".f", ".g/h", "b/.i", "..j/k"):
        put(tmp_path / name, "x")
    assert _names(tmp_path) == ["a", "b/c", "b/d/e"]


def test_a_kubernetes_volume_has_each_file_once(tmp_path: Path) -> None:
    """Links are followed, what they lead through is passed over; a swap changes the stamps."""
    kubelet(tmp_path, "1", {"key": "one", "aws/config": "two"})
    before = tree.look(str(tmp_path)).files
    assert _names(tmp_path) == ["aws/config", "key"]
    kubelet(tmp_path, "2", {"key": "one", "aws/config": "two"})
    after = tree.look(str(tmp_path)).files
    assert before.keys() == after.keys()
    assert all(before[path] != after[path] for path in before)


def test_links_in_circles_and_dangling_ones_end(tmp_path: Path) -> None:
    """A link to a directory above it is not followed for ever, one to nothing is nothing."""
    put(tmp_path / "a" / "file", "x")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "nothing").symlink_to("nowhere")
    assert _names(tmp_path) == ["a/file"]


def test_pipes_and_sockets_are_passed_over(tmp_path: Path) -> None:
    """Opening one would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    assert _names(tmp_path) == []


def test_a_file_and_nothing_are_roots_as_well(tmp_path: Path) -> None:
    """A single key file can be watched; a directory that is not there is empty, not in trouble."""
    put(tmp_path / "key.json", "x")
    assert list(tree.look(str(tmp_path / "key.json")).files) == [str(tmp_path / "key.json")]
    for absent in (tmp_path / "no", tmp_path / "key.json" / "no"):
        seen = tree.look(str(absent))
        assert (seen.files, seen.hidden) == ({}, {})


def test_a_directory_that_is_far_too_large_is_not_walked_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever names / as the directory of credentials gets a warning, not a walk of the disk."""
    for number in range(30):
        put(tmp_path / str(number % 5) / str(number), "x")
    monkeypatch.setattr(tree, "MOST_ENTRIES", 10)
    seen = tree.look(str(tmp_path))
    assert seen.is_too_large
    assert len(seen.files) <= 10
    assert seen.may_hold(str(tmp_path / "4" / "29"))


def test_files_for_everybody_are_told_apart(tmp_path: Path) -> None:
    """Only where the directories on the way let everybody pass as well."""
    put(tmp_path / "open" / "a", "x").chmod(0o644)
    put(tmp_path / "open" / "b", "x").chmod(0o640)
    put(tmp_path / "closed" / "c", "x").chmod(0o644)
    tmp_path.chmod(0o755)
    (tmp_path / "closed").chmod(0o700)
    assert tree.look(str(tmp_path)).exposed == {str(tmp_path / "open" / "a")}
    tmp_path.chmod(0o700)
    assert tree.look(str(tmp_path)).exposed == set()
