"""Which version may be released, and what becomes of the changelog."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from release import changelog
from release.versions import Refused, next_version, of_tags

numbers = st.tuples(*[st.integers(0, 30)] * 3)
ends = st.one_of(st.just(""), st.integers(1, 9).map("rc{}".format))
versions = st.builds(lambda three, end: ".".join(map(str, three)) + end, numbers, ends)

LOG = """# Changelog

## [Unreleased]

### Added

- A thing.

## [0.1.0] - 2026-01-02

### Added

- Everything.
"""


@given(versions, versions, st.lists(versions))
def test_only_a_newer_version_is_accepted(wanted: str, current: str, released: list[str]) -> None:
    """What is accepted is newer than all that is out, and no step back from the package's own."""
    try:
        accepted = next_version(wanted, current=current, released=released)
    except Refused:
        older = Version(wanted) < Version(current)
        assert older or any(Version(wanted) <= Version(out) for out in released)
    else:
        assert all(accepted > Version(out) for out in released)
        assert accepted >= Version(current)


@pytest.mark.parametrize("written", ["", "1.2", "v1.2.3", "1.2.3.4", "01.2.3", "1.2.3-rc1", "next"])
def test_only_three_numbers_are_a_version(written: str) -> None:
    """A slip of the hand is told what a version looks like."""
    with pytest.raises(Refused, match=r"write 1\.2\.3"):
        next_version(written, current="0.1.0", released=[])


def test_tags_tell_what_is_out() -> None:
    """Only tags that name a version count."""
    assert of_tags(["v0.1.0", "v1.0.0rc2", "0.3.0", "very-good", "v2"]) == ["0.1.0", "1.0.0rc2"]


def test_what_waited_moves_under_the_versions_heading() -> None:
    """The section Unreleased is empty afterwards, the new one is first, the rest is untouched."""
    found = changelog.moved(LOG, "0.2.0", date(2026, 3, 4))
    assert changelog.released(found) == ["0.2.0", "0.1.0"]
    assert "## [Unreleased]\n\n## [0.2.0] - 2026-03-04\n\n### Added\n\n- A thing.\n" in found
    assert found.endswith(LOG[LOG.index("## [0.1.0]") :])
    with pytest.raises(Refused, match="lists nothing"):
        changelog.notes(found)


def test_notes_are_what_is_new() -> None:
    """Of the changelog only what waits is taken."""
    assert changelog.notes(LOG) == "### Added\n\n- A thing."
    with pytest.raises(Refused, match="must have one line"):
        changelog.notes("# Changelog\n")
