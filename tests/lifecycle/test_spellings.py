"""A directory that is reached over links has several names."""

from __future__ import annotations

from pathlib import Path

from runner.lifecycle.runs.spellings import spellings


def test_every_name_of_a_directory_is_found(tmp_path: Path) -> None:
    """With the first link resolved, the second, both and none."""
    top = tmp_path.resolve()
    (top / "disk" / "big").mkdir(parents=True)
    (top / "other" / "work").mkdir(parents=True)
    (top / "state").symlink_to(top / "disk")
    (top / "disk" / "work").symlink_to(top / "other" / "work")
    assert set(spellings(top / "state" / "work" / "x")) == {
        top / "state" / "work" / "x",
        top / "disk" / "work" / "x",
        top / "other" / "work" / "x",
    }


def test_without_links_there_is_one_name(tmp_path: Path) -> None:
    """Whether the directory is there or not."""
    assert spellings(tmp_path.resolve() / "gone") == (tmp_path.resolve() / "gone",)
