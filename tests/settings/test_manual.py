"""The manual and the help agree with the parser."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from runner.settings import OPTIONS, Settings
from runner.settings.manual import render

_DEFAULTS = Path(__file__).parents[2] / "docs" / "defaults.md"


def test_the_manual_lists_every_option() -> None:
    """docs/defaults.md is what ``python -m runner.settings.manual`` writes."""
    assert _DEFAULTS.read_text(encoding="utf-8") == render()


def test_every_field_is_an_option() -> None:
    """No setting exists that cannot be set."""
    fields = {field.name for field in dataclasses.fields(Settings)}
    assert fields - {"origins", "notes", "secret_files"} == set(OPTIONS)


def test_the_help_shows_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """``run --help`` names each option with its default and how else it can be set."""
    with pytest.raises(SystemExit) as caught:
        Settings.load(["--help"], {})
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(f"--{name}" in text for option in OPTIONS.values() for name in option.names)
    assert "STUDIO_RUNNER_MAX_CORES" in text
    assert "(default: 96h)" in text
