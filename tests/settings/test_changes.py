"""What a reload would change is told by name, and without anything secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from runner.app.masking import redactor_of
from runner.settings import Settings
from runner.settings.changes import Change, Held, changes, from_json, held_by, obstacle, to_json

BASE: Mapping[str, str] = {"HOME": "/home/someone"}
SALT = "used once"


def options(file: Path, text: str, **variables: str) -> Held:
    """Return what a daemon with this option file tells, as the other one reads it."""
    file.write_text(text)
    settings = Settings.load(["--config", str(file)], {**BASE, **variables})
    return from_json(to_json(held_by(settings, redactor_of(settings).redact, SALT)))


def test_what_is_written_alike_has_not_changed(tmp_path: Path) -> None:
    """Another spelling of a value, or another place that it comes from, is no change."""
    before = options(tmp_path / "a.yaml", "max-mem: 16gib\nmax-cores: 2\n")
    after = options(tmp_path / "b.yaml", f"max-mem: {1 << 34}\n", STUDIO_RUNNER_MAX_CORES="2")
    assert changes(before, after) == []


def test_changes_name_option_values_and_place(tmp_path: Path) -> None:
    """In the form in which people write them; of what runs keep, that is said."""
    file = tmp_path / "runner.yaml"
    before = options(file, "max-cores: 2\nbind: [/data]\n")
    after = options(file, "max-cores: 4\nnetwork: off\nbind: [/data, /b:rw]\n")
    place, kept = f"file {file}, key", "what runs keeps the old value"
    assert {str(one) for one in changes(before, after)} == {
        f"--max-cores: 4, was 2 ({place} max-cores)",
        f"--network: off, was on ({place} network; {kept})",
        f"--bind: /data:/data:ro /b:/b:rw, was /data:/data:ro ({place} bind; {kept})",
    }


def test_a_secret_that_changed_is_named_and_not_shown(tmp_path: Path) -> None:
    """Neither value is in what one process tells the other, nor in the sentence."""
    file = tmp_path / "runner.yaml"
    before = options(file, "slack-token: xoxb-first-of-two\n")
    after = options(file, "slack-token: xoxb-second-of-two\n")
    assert "of-two" not in to_json(before) + to_json(after)
    (change,) = changes(before, after)
    assert str(change) == f"--slack-token: ***, was another *** (file {file}, key slack-token)"
    assert "of-two" not in str(asdict(change))


def test_an_option_of_another_version_counts_where_it_is_given(tmp_path: Path) -> None:
    """A default that is new is no change, a value for an option that is gone is one."""
    whole = options(tmp_path / "runner.yaml", "max-cores: 4\n")
    older = {name: shown for name, shown in whole.items() if name not in {"max-cores", "network"}}
    assert [one.name for one in changes(older, whole)] == ["max-cores"]
    assert [(one.name, one.after) for one in changes(whole, older)] == [("max-cores", "")]


@pytest.mark.parametrize(
    ("name", "running", "refused"),
    [
        ("state-dir", 0, True),
        ("working-dir", 0, False),
        ("working-dir", 1, True),
        ("lock-dir", 2, True),
        ("queue-root", 1, True),
        ("max-cores", 9, False),
    ],
)
def test_what_runs_is_not_cut_off(name: str, running: int, refused: bool) -> None:  # noqa: FBT001 - a table
    """What experiments lie in, or are held by, changes only where none runs."""
    found = [Change(name, "/a", "/b", "file")]
    assert bool(obstacle(found, running)) is refused
    if refused:
        assert f"--{name}: /b, was /a" in obstacle(found, running)


@pytest.mark.parametrize("text", ["[]", "{}3", '{"max-cores": {"colour": 1}}', '{"x": 1}'])
def test_what_is_no_such_line_is_not_believed(text: str) -> None:
    """Another version may write anything."""
    with pytest.raises(ValueError, match=r".*"):
        from_json(text)
