"""Which device nodes a run that was given cards finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.sandboxes.devices import of_cards

_DRIVER = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """Two cards, the driver's own nodes, and a file that is no device."""
    for name in ("nvidia0", "nvidia1", *_DRIVER):
        (tmp_path / name).symlink_to("/dev/null")
    (tmp_path / "nvidia2").touch()
    (tmp_path / "nvidia-caps").mkdir()
    for number in (1, 2, 12, 13, 21):
        (tmp_path / "nvidia-caps" / f"nvidia-cap{number}").symlink_to("/dev/null")
    return tmp_path


def names(found: tuple[Path, ...]) -> list[str]:
    """Return their names."""
    return [path.name for path in found]


def test_a_run_finds_its_own_cards_alone(dev: Path) -> None:
    """Besides what is the driver's: no program could open its card without that."""
    assert names(of_cards({1}, dev)) == ["nvidia1", *_DRIVER, "nvidia-caps"]


def test_a_run_finds_what_opens_its_part_of_a_card_and_no_other(dev: Path) -> None:
    """Of the other instances of the same card, and of who may make instances, nothing is there."""
    found = of_cards({1}, dev, capabilities={12, 13, 99})
    assert names(found) == ["nvidia1", *_DRIVER, "nvidia-cap12", "nvidia-cap13"]
    assert names(of_cards({1}, dev, capabilities=())) == ["nvidia1", *_DRIVER]


def test_while_it_is_not_known_which_they_are_all_are_there(dev: Path) -> None:
    """A run without its card would fail; which one it uses its variables say."""
    assert names(of_cards(None, dev)) == ["nvidia0", "nvidia1", *_DRIVER, "nvidia-caps"]


def test_a_machine_without_cards_has_none(tmp_path: Path) -> None:
    """Nothing is invented."""
    assert of_cards({0}, tmp_path) == of_cards(None, tmp_path) == ()
