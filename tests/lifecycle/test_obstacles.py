"""What forbids to claim is said once when it begins and once when it ends."""

from __future__ import annotations

from structlog.testing import capture_logs

from runner.lifecycle.claiming.obstacles import Obstacles
from runner.lifecycle.claiming.rules import Rules


def test_each_edge_of_the_hours_is_said_once() -> None:
    """However often one looks between them."""
    now = [0.0]
    rules = Rules(is_open_at=lambda moment: moment >= 100, hours="19:00-07:00")
    obstacles = Obstacles(rules, wall=lambda: now[0])
    with capture_logs() as said:
        for moment in (0, 50, 99, 100, 150, 200):
            now[0] = moment
            assert bool(obstacles.look()) is (moment < 100)
    assert len(said) == 2
    assert "19:00-07:00" in str(said[0]["hours"])
    assert obstacles.said == ""


def test_a_full_disk_is_said_once_and_so_is_its_end() -> None:
    """The reason is what the disk's guard says."""
    low = ["2 GB left"]
    obstacles = Obstacles(Rules(), disk_is_low=lambda: low[0])
    with capture_logs() as said:
        assert obstacles.look() == "2 GB left"
        low[0] = "1 GB left"
        assert obstacles.look() == "1 GB left"
        low[0] = ""
        assert obstacles.look() == ""
    assert [entry["log_level"] for entry in said] == ["error", "info"]


def test_the_end_of_the_hours_is_seen_before_it_comes() -> None:
    """A receive that would go on past it is not opened."""
    obstacles = Obstacles(Rules(is_open_at=lambda moment: moment < 100), wall=lambda: 85.0)
    assert not obstacles.ends_within(14.0)
    assert obstacles.ends_within(20.0)
    assert not Obstacles(Rules(), wall=lambda: 85.0).ends_within(1e9)
